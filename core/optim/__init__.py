"""Optimizers as settings."""
