"""Fusion of tokens: one file per head, and what they share."""
