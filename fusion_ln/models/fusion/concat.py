"""Concatenation of the modalities."""

import torch
from torch import Tensor, nn

from fusion_ln.models.fusion.base import TripletShape
from fusion_ln.models.fusion.layers import Pooled
from fusion_ln.settings.fusion import HeadSettings

TITLE = "Concatenation"
ORDER = 1


class Concatenation(nn.Module):
    """Pooled vectors side by side, with a mark for each that is absent, through one hidden layer."""

    def __init__(self, shape: TripletShape, settings: HeadSettings) -> None:
        super().__init__()
        self.pooled = Pooled(shape, settings.width)
        self.mix = nn.Sequential(
            nn.Linear(shape.n_parts * (settings.width + 1), settings.width),
            nn.GELU(),
            nn.Dropout(settings.dropout),
        )

    def forward(self, tokens: Tensor, present: Tensor, clinical: Tensor) -> Tensor:
        """Fuse to features (B, width)."""
        vectors, parts_present = self.pooled(tokens, present, clinical)
        mixed: Tensor = self.mix(torch.cat([vectors, parts_present.to(vectors.dtype)], -1).flatten(1))
        return mixed


HEAD = Concatenation
