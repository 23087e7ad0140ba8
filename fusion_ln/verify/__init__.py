"""Recomputation of what a run, a report or a comparison says, from its tables."""
