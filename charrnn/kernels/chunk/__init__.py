"""One chunk of truncated backpropagation through time: views, forward, backward, weight gradients, items."""
