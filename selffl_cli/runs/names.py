"""What the files of a run folder are called."""

from __future__ import annotations

RECORD, RESULT, METRICS, CLIENTS = "run.toml", "result.json", "metrics.jsonl", "clients.parquet"
MODELS, ENVIRONMENT, LOCK, CHECKPOINT = "models.safetensors", "environment.json", "lock", "checkpoint"
SCORES = "scores.parquet"  # of detection tasks
EVIDENCE = "evidence.json"  # what a method asked of all clients before delivery, and learnt
