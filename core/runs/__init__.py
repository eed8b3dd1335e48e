"""What is kept of runs on disk, and what makes a run itself: identity, folders, measurements, provenance."""
