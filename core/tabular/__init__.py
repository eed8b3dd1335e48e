"""Small classification problems from tables: how they are drawn, baselines, scores."""
