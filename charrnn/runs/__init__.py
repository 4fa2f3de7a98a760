"""What a training run keeps: checkpoints, and the folder that they lie in."""
