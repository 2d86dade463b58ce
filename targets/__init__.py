"""One folder an inference engine, the same file names in each."""
