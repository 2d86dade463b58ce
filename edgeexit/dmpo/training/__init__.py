"""The loop that tunes: optimizer, precision, checkpoints, logs, evaluation."""
