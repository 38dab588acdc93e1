"""Data shards, the training loop, metrics."""
