"""Benchmarks: how fast, how small and how steady the engine is; `python -m benchmarks` runs them."""
