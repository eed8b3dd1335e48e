"""What a trial sees of the machinery: the lab, its loops and stages, the replicate axis, keys, timing."""
