"""From files to batches: reading, splitting, checking. Only batches and normalize need torch."""
