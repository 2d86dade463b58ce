"""What this machine draws: meters of energy, the best that works, and how windows become joules."""
