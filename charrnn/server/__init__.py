"""A model behind HTTP: many requests, one batch. The command is `charrnn serve`."""
