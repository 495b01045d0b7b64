"""Experiments, runs and their settings as typed, validated data."""
