"""Masks on the weights of a network: which are chosen, and how they are kept while it trains."""
