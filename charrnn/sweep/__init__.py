"""A grid of runs: its specification, its child processes, its table."""
