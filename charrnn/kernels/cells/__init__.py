"""The cells, a file each: the elementwise part of a time step. panel.py says what such a file holds, registry.py finds it."""
