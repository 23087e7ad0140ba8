"""Heads: features to logits."""

from collections.abc import Iterable

from torch import Tensor, nn


def mlp_head(n_features: int, width: int, n_classes: int, dropout: float = 0.0) -> nn.Sequential:
    """The paper's head (Jiang et al. 2025, section 2.4): Linear, ReLU, Linear. (B, D) to (B, C)."""
    bend = (
        nn.Sequential(nn.ReLU(), nn.Dropout(dropout)) if dropout else nn.ReLU()
    )  # one place: weights keep their names
    return nn.Sequential(nn.Linear(n_features, width), bend, nn.Linear(width, n_classes))


class MultiTask(nn.Module):
    """One backbone under one head per task."""

    def __init__(self, backbone: nn.Module, heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleList(heads)

    def forward(self, pictures: Tensor, task: int) -> Tensor:
        """Pictures in [0, 1], shape (B, 3, H, W), to the logits of one task (B, C)."""
        logits: Tensor = self.heads[task](self.backbone(pictures))
        return logits
