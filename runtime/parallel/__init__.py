"""Ways to split training over ranks: data parallelism."""
