"""Gated multimodal unit."""

from torch import Tensor, nn

from fusion_ln.models.fusion.base import TripletShape
from fusion_ln.models.fusion.layers import Pooled
from fusion_ln.settings.fusion import HeadSettings

TITLE = "Gating"
ORDER = 2


class Gated(nn.Module):
    """Gated multimodal unit (Arevalo et al. 2017, arXiv 1702.01992, eq. 1-5) for any number of modalities.

    h_m = tanh(W_m x_m), z_m = sigma(U_m [x_1, ..., x_M]), h = sum over present m of z_m * h_m.
    """

    def __init__(self, shape: TripletShape, settings: HeadSettings) -> None:
        super().__init__()
        self.pooled = Pooled(shape, settings.width)
        self.gate = nn.Linear(shape.n_parts * settings.width, shape.n_parts * settings.width)

    def forward(self, tokens: Tensor, present: Tensor, clinical: Tensor) -> Tensor:
        """Fuse to features (B, width)."""
        vectors, parts_present = self.pooled(tokens, present, clinical)
        gates = self.gate(vectors.flatten(1)).view_as(vectors).sigmoid()
        fused: Tensor = (parts_present * gates * vectors.tanh()).sum(1)
        return fused


HEAD = Gated
