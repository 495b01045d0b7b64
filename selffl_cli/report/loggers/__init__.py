"""Bridges from run folders to loggers. Each reads metrics.jsonl alone, so that no logger can break or slow a run."""
