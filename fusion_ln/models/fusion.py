"""Fusion of a patient's tokens: heads that see all pictures of a triplet at once, whichever of them there are.

Every head keeps three promises. A patient's output depends on no other patient of the batch; the tokens of an
absent picture cannot change it; and neither can the order of the views.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fusion_ln.models.late import ModalityLogits, mean_probability
from fusion_ln.settings import HeadSettings


@dataclass(frozen=True)
class Triplets:
    """What the heads see of B patients: M modalities, up to V views of each, T tokens per picture.

    Attributes:
        tokens: Shape (B, M, V, T, D). What stands where no picture is, is never read.
        logits: Of the modalities' own models. Shape (B, M, V, C).
        present: Which pictures there are. bool, shape (B, M, V), at least one per patient.
        clinical: Standardised clinical columns, K of them or none. Shape (B, K).
    """

    tokens: Tensor
    logits: Tensor
    present: Tensor
    clinical: Tensor

    def of(self, modalities: Tensor) -> "Triplets":
        """The same patients with the pictures of some modalities only; bool, shape (M,) or (B, M)."""
        return replace(self, present=self.present & modalities[..., None])

    def to(self, device: torch.device) -> "Triplets":
        """On a device, in float32."""
        tokens, logits, clinical = (x.to(device).float() for x in (self.tokens, self.logits, self.clinical))
        return Triplets(tokens, logits, self.present.to(device), clinical)


@dataclass(frozen=True)
class TripletShape:
    """The sizes that a head is built for."""

    n_modalities: int
    n_features: int
    n_classes: int
    n_clinical: int = 0

    @property
    def n_parts(self) -> int:
        """What heads fuse: the modalities and, if there are any, the clinical columns."""
        return self.n_modalities + (self.n_clinical > 0)


def opinions_of(triplets: Triplets) -> ModalityLogits:
    """What each modality's own network says of a patient: the mean of its logits over the views."""
    views = triplets.present[..., None]
    logits = torch.where(views, triplets.logits, 0).sum(2) / views.sum(2).clamp(min=1)  # (B, M, C)
    return ModalityLogits(logits, triplets.present.any(2))


class FusionHead(nn.Module):
    """A head: a starting point, and a correction of it that is learnt.

    With ``anchored`` settings it starts at late fusion (`mean_probability`), with a correction of zero, so that it need
    only learn what late fusion lacks; otherwise the correction is all there is.
    """

    def __init__(self, fuse: nn.Module, shape: TripletShape, settings: HeadSettings) -> None:
        super().__init__()
        self.fuse = fuse
        self.anchored = settings.anchored
        last = nn.Linear(settings.width, shape.n_classes)
        if settings.anchored:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.last = nn.Sequential(nn.LayerNorm(settings.width), nn.Dropout(settings.dropout), last)

    def forward(self, triplets: Triplets) -> Tensor:
        """Logits of each patient. Shape (B, C)."""
        tokens = torch.where(triplets.present[..., None, None], triplets.tokens, 0)
        correction: Tensor = self.last(self.fuse(tokens, triplets.present, triplets.clinical))
        return mean_probability(opinions_of(triplets)) + correction if self.anchored else correction


class Projection(nn.Module):
    """Each modality's tokens, normalised and projected to the head's width, and the clinical columns as one token."""

    def __init__(self, shape: TripletShape, width: int) -> None:
        super().__init__()
        self.pictures = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(shape.n_features), nn.Linear(shape.n_features, width))
            for _ in range(shape.n_modalities)
        )
        self.clinical = nn.Linear(shape.n_clinical, width) if shape.n_clinical else None

    def forward(self, tokens: Tensor, clinical: Tensor) -> tuple[Tensor, Tensor]:
        """(B, M, ..., D) and (B, K) to tokens (B, M, ..., width) and clinical tokens, one or none (B, 0|1, width)."""
        projected = torch.stack([project(tokens[:, m]) for m, project in enumerate(self.pictures)], 1)
        if self.clinical is None:
            return projected, projected.new_zeros(len(tokens), 0, projected.shape[-1])
        return projected, self.clinical(clinical)[:, None]


class Pooled(nn.Module):
    """Each modality as one vector, the projected mean of its tokens over the pictures there are, then the clinical."""

    def __init__(self, shape: TripletShape, width: int) -> None:
        super().__init__()
        self.project = Projection(shape, width)

    def forward(self, tokens: Tensor, present: Tensor, clinical: Tensor) -> tuple[Tensor, Tensor]:
        """(B, M, V, T, D), (B, M, V) and (B, K) to vectors (B, parts, width), zero where absent, and presence."""
        mean = tokens.mean(3).sum(2) / present.sum(2).clamp(min=1)[..., None]  # absent tokens are zero
        vectors = torch.cat(self.project(mean, clinical), 1)
        there = present.any(2)
        there = torch.cat([there, there.new_ones(len(there), vectors.shape[1] - there.shape[1])], 1)[..., None]
        return torch.where(there, vectors, 0), there


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
        vectors, there = self.pooled(tokens, present, clinical)
        mixed: Tensor = self.mix(torch.cat([vectors, there.to(vectors.dtype)], -1).flatten(1))
        return mixed


class Gated(nn.Module):
    """Gated multimodal unit (Arevalo et al. 2017, arXiv 1702.01992, eq. 1-5) for any number of modalities.

    h_m = tanh(W_m x_m), z_m = sigma(U_m [x_1, ..., x_M]), h = sum over present m of z_m * h_m.
    """

    def __init__(self, shape: TripletShape, settings: HeadSettings) -> None:
        super().__init__()
        self.pooled = Pooled(shape, settings.width)
        self.gate = nn.Linear(shape.n_parts * settings.width, shape.n_parts * settings.width)

    def forward(self, tokens: Tensor, present: Tensor, clinical: Tensor) -> Tensor:
        vectors, there = self.pooled(tokens, present, clinical)
        gates = self.gate(vectors.flatten(1)).view_as(vectors).sigmoid()
        fused: Tensor = (there * gates * vectors.tanh()).sum(1)
        return fused


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
        vectors, _ = self.pooled(tokens, present, clinical)
        product = torch.stack([factor(vectors[:, m]) for m, factor in enumerate(self.factors)]).prod(0)
        fused: Tensor = product.view(len(product), self.RANK, -1).sum(1)
        return fused


class TokenSequence(nn.Module):
    """All tokens of a patient in one sequence, each with the mark of its modality."""

    def __init__(self, shape: TripletShape, settings: HeadSettings) -> None:
        super().__init__()
        self.project = Projection(shape, settings.width)
        self.modality = nn.Parameter(torch.randn(shape.n_modalities, 1, 1, settings.width) * 0.02)
        self.query = nn.Parameter(torch.randn(1, 1, settings.width) * 0.02)

    def forward(self, tokens: Tensor, present: Tensor, clinical: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The patient's query (B, 1, width), the sequence (B, S, width), and what of it to ignore (B, S)."""
        pictures, columns = self.project(tokens, clinical)
        absent = ~present[..., None].expand(tokens.shape[:4])
        sequence = torch.cat([(pictures + self.modality).flatten(1, 3), columns], 1)
        ignore = torch.cat([absent.flatten(1), absent.new_zeros(columns.shape[:2])], 1)
        return self.query.expand(len(tokens), -1, -1), sequence, ignore


class Block(nn.Module):
    """A pre-norm transformer block (Xiong et al. 2020, arXiv 2002.04745); ``x`` attends to ``context``.

    In training each of its two branches is left out at random for a share of the patients (stochastic depth, Huang et
    al. 2016, arXiv 1603.09382).
    """

    def __init__(self, settings: HeadSettings) -> None:
        super().__init__()
        width = settings.width
        self.norm_x, self.norm_context, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, settings.heads, dropout=settings.dropout, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(settings.dropout), nn.Linear(2 * width, width)
        )
        self.drop_path = settings.drop_path

    def forward(self, x: Tensor, context: Tensor, ignore: Tensor) -> Tensor:
        """(B, Q, width), (B, S, width), bool (B, S) to (B, Q, width)."""
        keys = self.norm_context(context)
        attended = self.attention(self.norm_x(x), keys, keys, key_padding_mask=ignore, need_weights=False)[0]
        x = x + self._kept(attended)
        return x + self._kept(self.mlp(self.norm_mlp(x)))

    def _kept(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return branch
        keep = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop_path
        return branch * keep / (1 - self.drop_path)


class CrossAttention(nn.Module):
    """A patient's query attends, block after block, to all tokens of all present modalities."""

    def __init__(self, shape: TripletShape, settings: HeadSettings) -> None:
        super().__init__()
        self.sequence = TokenSequence(shape, settings)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.depth))

    def forward(self, tokens: Tensor, present: Tensor, clinical: Tensor) -> Tensor:
        query, sequence, ignore = self.sequence(tokens, present, clinical)
        for block in self.blocks:
            query = block(query, sequence, ignore)
        fused: Tensor = query[:, 0]
        return fused


class LateTransformer(nn.Module):
    """Late-fusion transformer: the query and all tokens attend to one another (self-attention)."""

    def __init__(self, shape: TripletShape, settings: HeadSettings) -> None:
        super().__init__()
        self.sequence = TokenSequence(shape, settings)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.depth))

    def forward(self, tokens: Tensor, present: Tensor, clinical: Tensor) -> Tensor:
        query, sequence, ignore = self.sequence(tokens, present, clinical)
        x = torch.cat([query, sequence], 1)
        ignore = torch.cat([ignore.new_zeros(len(ignore), 1), ignore], 1)
        for block in self.blocks:
            x = block(x, x, ignore)
        fused: Tensor = x[:, 0]
        return fused


HEADS: dict[str, Callable[[TripletShape, HeadSettings], nn.Module]] = {
    "concat": Concatenation,
    "gated": Gated,
    "lowrank": LowRank,
    "cross-attention": CrossAttention,
    "transformer": LateTransformer,
}


class HeadMean(nn.Module):
    """Heads that differ in nothing but their seed; their answer is the mean of their logits."""

    def __init__(self, settings: HeadSettings, shape: TripletShape) -> None:
        super().__init__()
        self.shape = shape
        self.heads = nn.ModuleList(build_head(settings, shape) for _ in range(settings.seeds))

    def forward(self, triplets: Triplets) -> Tensor:
        """Logits of each patient. Shape (B, C)."""
        return torch.stack([head(triplets) for head in self.heads]).mean(0)


def build_head(settings: HeadSettings, shape: TripletShape) -> FusionHead:
    """One head of these settings, drawn from torch's global generator."""
    return FusionHead(HEADS[settings.head](shape, settings), shape, settings)
