"""Continual learning: data that comes in over periods, and memories of past samples."""
