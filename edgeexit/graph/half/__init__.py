"""What of a graph may compute in float16, and the rewrite that writes it down."""
