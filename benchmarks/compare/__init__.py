"""We, our peers and the least that could do, side by side: `python -m benchmarks compare`."""
