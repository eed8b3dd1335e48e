"""What a run would cost here or on accelerators, before it starts, and what earlier ones took."""
