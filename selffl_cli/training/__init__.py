"""One run: what it needs, its loop, its evaluations, and what it writes."""
