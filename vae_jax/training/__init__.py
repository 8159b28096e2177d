"""Training: experiment, step, loop, checkpoints, log and the run's folder."""
