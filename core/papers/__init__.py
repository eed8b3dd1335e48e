"""What a paper says: its config, its settings, and what its experiment offers."""
