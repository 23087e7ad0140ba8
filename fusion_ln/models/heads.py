"""Heads: features to logits."""

from torch import nn


def mlp_head(n_features: int, width: int, n_classes: int) -> nn.Sequential:
    """The paper's head (Jiang et al. 2025, section 2.4): Linear, ReLU, Linear. (B, D) to (B, C)."""
    return nn.Sequential(nn.Linear(n_features, width), nn.ReLU(), nn.Linear(width, n_classes))
