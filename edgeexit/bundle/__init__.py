"""What lies on disk: the manifest, the sealed files, the exit family."""
