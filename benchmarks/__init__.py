"""Speed beside named peers, and what the product itself costs: `python -m benchmarks --list`."""
