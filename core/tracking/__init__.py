"""Mirrors of a run for dashboards: fed from the run's files by a process of its own, never on the path of training."""
