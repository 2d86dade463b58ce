"""What runs on the device: numpy and one engine, nothing else."""
