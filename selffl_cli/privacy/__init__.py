"""Differential privacy: of users (DP-FedAvg) or of single samples (eDP-SGD), with the budget that it spends."""
