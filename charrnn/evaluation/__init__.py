"""How well a model predicts a text, and what that loss is worth."""
