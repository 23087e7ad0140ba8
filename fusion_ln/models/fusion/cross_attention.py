"""Cross-attention of a query per patient over the tokens."""

from torch import Tensor, nn

from fusion_ln.models.fusion.base import TripletShape
from fusion_ln.models.fusion.layers import TokenSequence, TransformerBlock
from fusion_ln.settings.fusion import HeadSettings

TITLE = "Cross-attention"
ORDER = 4


class CrossAttention(nn.Module):
    """A patient's query attends, block after block, to all tokens of all present modalities."""

    def __init__(self, shape: TripletShape, settings: HeadSettings) -> None:
        super().__init__()
        self.sequence = TokenSequence(shape, settings)
        self.blocks = nn.ModuleList(TransformerBlock(settings) for _ in range(settings.depth))

    def forward(self, tokens: Tensor, present: Tensor, clinical: Tensor) -> Tensor:
        """Fuse to features (B, width)."""
        query, sequence, padding = self.sequence(tokens, present, clinical)
        for block in self.blocks:
            query = block(query, sequence, padding)
        fused: Tensor = query[:, 0]
        return fused


HEAD = CrossAttention
