"""The static site over all papers, and the table of papers in the README; both are made from files alone."""
