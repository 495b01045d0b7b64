"""Recordings: reading, channels, features."""
