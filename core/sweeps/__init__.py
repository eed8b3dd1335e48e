"""Sweeps: many points of one command, a folder that says how far each has come, and a search that chooses the next."""
