"""Why recurrent networks are hard to train, measured: gradients over distance, memory over distance, recurrent matrices."""
