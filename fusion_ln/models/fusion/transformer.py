"""Late-fusion transformer: self-attention over all tokens."""

import torch
from torch import Tensor, nn

from fusion_ln.models.fusion.base import TripletShape
from fusion_ln.models.fusion.layers import TokenSequence, TransformerBlock
from fusion_ln.settings.fusion import HeadSettings

TITLE = "Transformer"
ORDER = 5


class LateTransformer(nn.Module):
    """Late-fusion transformer: the query and all tokens attend to one another (self-attention)."""

    def __init__(self, shape: TripletShape, settings: HeadSettings) -> None:
        super().__init__()
        self.sequence = TokenSequence(shape, settings)
        self.blocks = nn.ModuleList(TransformerBlock(settings) for _ in range(settings.depth))

    def forward(self, tokens: Tensor, present: Tensor, clinical: Tensor) -> Tensor:
        """Fuse to features (B, width)."""
        query, sequence, padding = self.sequence(tokens, present, clinical)
        x = torch.cat([query, sequence], 1)
        padding = torch.cat([padding.new_zeros(padding.shape[0], 1), padding], 1)
        for block in self.blocks:
            x = block(x, x, padding)
        fused: Tensor = x[:, 0]
        return fused


HEAD = LateTransformer
