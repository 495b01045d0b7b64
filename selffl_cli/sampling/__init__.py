"""Who takes part in a round, and how the drawn clients are weighed."""
