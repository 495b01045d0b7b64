"""Pictures and summaries of prepared data."""
