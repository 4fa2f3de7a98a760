"""Training: options, schedules, optimisers, recovery, and the trainer."""
