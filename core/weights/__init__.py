"""Trained networks for others: from what a finished run left to one small file with a card, and back by one line."""
