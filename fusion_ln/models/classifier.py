"""Settings to models."""

from torch import Tensor, nn

from fusion_ln.models.backbones import Backbone, create_backbone
from fusion_ln.models.heads import mlp_head
from fusion_ln.settings import FitSettings


class Classifier(nn.Module):
    """A backbone and its head: one picture to logits."""

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures in [0, 1], shape (B, 3, H, W), to logits (B, C)."""
        logits: Tensor = self.head(self.backbone(pictures))
        return logits


def build_classifier(fit: FitSettings, n_classes: int, *, weights: str | None = None) -> Classifier:
    """The network of a baseline, drawn from torch's global generator.

    Args:
        fit: Its settings.
        n_classes: C.
        weights: Instead of ``fit.weights``: ``scratch`` where a checkpoint is loaded over it anyway.

    Raises:
        SettingsError, WeightsError: See `create_backbone`.
    """
    backbone = create_backbone(fit.backbone, image_size=fit.image_size, weights=weights or fit.weights)
    return Classifier(backbone, mlp_head(backbone.n_features, fit.head_width, n_classes, fit.head_dropout))
