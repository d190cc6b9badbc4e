"""What runs: the state of a build, blocks in sessions of their own, the live model, the cache and its keys, workers."""
