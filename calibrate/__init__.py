"""Exit records and costs in, an exit family out. Needs numpy alone."""
