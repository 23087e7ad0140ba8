"""Low-rank multimodal fusion."""

import torch
from torch import Tensor, nn

from fusion_ln.models.fusion.base import TripletShape
from fusion_ln.models.fusion.layers import Pooled
from fusion_ln.settings.fusion import HeadSettings

TITLE = "Low-rank product"
ORDER = 3


class LowRank(nn.Module):
    """Low-rank multimodal fusion (Liu et al. 2018, arXiv 1806.00064, eq. 5-7).

    h = sum over r of the product over m of W_m^r [x_m, 1]: the outer product of all modalities through a weight
    tensor of rank R, which is never formed. An absent modality gives [0, 1], its constant alone.
    """

    RANK = 4

    def __init__(self, shape: TripletShape, settings: HeadSettings) -> None:
        super().__init__()
        self.pooled = Pooled(shape, settings.width)
        factors = [nn.Linear(settings.width, self.RANK * settings.width) for _ in range(shape.n_parts)]
        for factor in factors:
            nn.init.ones_(factor.bias)  # a product of small numbers would pass no gradient on
        self.factors = nn.ModuleList(factors)

    def forward(self, tokens: Tensor, present: Tensor, clinical: Tensor) -> Tensor:
        """Fuse to features (B, width)."""
        vectors, _ = self.pooled(tokens, present, clinical)
        product = torch.stack([factor(vectors[:, m]) for m, factor in enumerate(self.factors)]).prod(0)
        fused: Tensor = product.view(product.shape[0], self.RANK, -1).sum(1)
        return fused


HEAD = LowRank
