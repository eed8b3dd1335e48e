"""Settings of every run: the defaults, one page per paper, and the tracking groups."""
