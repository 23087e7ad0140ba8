"""Weights of others and of ours: read, matched by name and shape with a network, and written as files of ours."""
