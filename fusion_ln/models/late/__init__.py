"""Late fusion: one file per head, and what they share."""
