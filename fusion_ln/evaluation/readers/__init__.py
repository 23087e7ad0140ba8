"""Readers beside a model: their points, their agreement, and the model standing alone against them."""
