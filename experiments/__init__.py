"""One experiment per paper: the method itself, readable from top to bottom beside the paper."""
