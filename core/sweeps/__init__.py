"""Sweeps: many points of one command, a book that says how far each has come, and a search that chooses the next."""
