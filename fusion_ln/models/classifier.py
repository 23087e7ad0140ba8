"""Classifiers of single pictures: a backbone under one head, or under one head per task."""

from collections.abc import Iterable

from torch import Tensor, nn

from fusion_ln.models.backbones import Backbone, create_backbone
from fusion_ln.models.weights.network import Network
from fusion_ln.settings.training import FitSettings


def mlp_head(n_features: int, width: int, n_classes: int, dropout: float = 0.0) -> nn.Sequential:
    """Build the paper's head (Jiang et al. 2025, section 2.4): Linear, ReLU, Linear. (B, D) to (B, C)."""
    # One place in the sequence, with or without dropout: so the weights keep their names.
    activation = nn.Sequential(nn.ReLU(), nn.Dropout(dropout)) if dropout else nn.ReLU()
    return nn.Sequential(nn.Linear(n_features, width), activation, nn.Linear(width, n_classes))


class Classifier(nn.Module):
    """A backbone and a head."""

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, pictures: Tensor) -> Tensor:
        """Classify pictures in [0, 1], shape (B, 3, H, W). Logits (B, C)."""
        logits: Tensor = self.head(self.backbone(pictures))
        return logits


class MultiTaskClassifier(nn.Module):
    """A backbone and one head per task."""

    def __init__(self, backbone: nn.Module, heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleList(heads)

    def forward(self, pictures: Tensor, task: int) -> Tensor:
        """Classify pictures in [0, 1], shape (B, 3, H, W), for one task. Logits (B, C)."""
        logits: Tensor = self.heads[task](self.backbone(pictures))
        return logits


def build_classifier(
    fit: FitSettings, n_classes: int, *, weights: str | None = None, network: Network | None = None
) -> Classifier:
    """Build the network of a baseline, its weights drawn from torch's global generator.

    Args:
        fit: Its settings.
        n_classes: C.
        weights: Instead of ``fit.weights``: ``scratch`` where a checkpoint is loaded over it anyway.
        network: What that checkpoint says of its network.

    Raises:
        SettingsError, WeightsError: See `create_backbone`.
    """
    backbone = create_backbone(fit.backbone, image_size=fit.image_size, weights=weights or fit.weights, network=network)
    return Classifier(backbone, mlp_head(backbone.n_features, fit.head_width, n_classes, fit.head_dropout))
