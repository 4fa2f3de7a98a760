"""Why recurrent networks are hard to train, measured: gradients and memory over distance, recurrent matrices."""
