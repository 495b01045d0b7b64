"""The stacked engine: the clients of a chunk in one batched computation."""
