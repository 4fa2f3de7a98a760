"""The parameters of a model, the workspace that runs it, and the pace of its threads."""
