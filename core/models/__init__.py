"""Flax modules used by two or more papers, or standard in the field."""
