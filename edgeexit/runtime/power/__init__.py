"""What this machine draws, as its own sensors tell it."""
