"""The cells, a file each: the elementwise part of a time step. panel.py says what a file holds."""
