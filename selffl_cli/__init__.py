"""selffl: an experiment runner for personalised federated learning (ActPerFL / Self-FL and its baselines)."""

__version__ = "0.1.0"
