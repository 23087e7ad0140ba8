"""Fusion of a patient's tokens, from any subset of the triplet: the base of its heads.

The file of a head assigns to ``HEAD`` a module that is built from a `TripletShape` and `HeadSettings` and maps tokens
(B, M, V, T, D), presence mask (B, M, V) and clinical columns (B, K) to fused features (B, width).

Every head keeps three promises. A patient's output depends on no other patient of the batch; the tokens of an
absent picture cannot change it; and neither can the order of the views.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module

import torch
from torch import Tensor, nn

from fusion_ln.models.late.base import ModalityLogits
from fusion_ln.models.late.late_mean import mean_probability
from fusion_ln.settings.fusion import HeadSettings


@dataclass(frozen=True)
class Triplets:
    """Input of a fusion head: B patients, M modalities, up to V views of each, T tokens per picture.

    Attributes:
        tokens: Shape (B, M, V, T, D); those of an absent picture are never read.
        logits: Of the modalities' own models. Shape (B, M, V, C).
        present: Presence mask of the pictures. bool, shape (B, M, V), at least one per patient.
        clinical: Standardised clinical columns, K of them or none. Shape (B, K).
    """

    tokens: Tensor
    logits: Tensor
    present: Tensor
    clinical: Tensor

    def of(self, modalities: Tensor) -> "Triplets":
        """Keep the pictures of some modalities only; bool, shape (M,) or (B, M)."""
        return replace(self, present=self.present & modalities[..., None])

    def to(self, device: torch.device) -> "Triplets":
        """Move to a device, in float32."""
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
        """Number of vectors to fuse: one per modality and, if there are any, one of the clinical columns."""
        return self.n_modalities + (self.n_clinical > 0)


def mean_over_views(triplets: Triplets) -> ModalityLogits:
    """Average the logits of each modality's own network over a patient's views."""
    views = triplets.present[..., None]
    logits = torch.where(views, triplets.logits, 0).sum(2) / views.sum(2).clamp(min=1)  # (B, M, C)
    return ModalityLogits(logits, triplets.present.any(2))


class FusionHead(nn.Module):
    """A starting point and a learnt correction of it.

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
        """Predict the logits of each patient. Shape (B, C)."""
        tokens = torch.where(triplets.present[..., None, None], triplets.tokens, 0)
        correction: Tensor = self.last(self.fuse(tokens, triplets.present, triplets.clinical))
        return mean_probability(mean_over_views(triplets)) + correction if self.anchored else correction


class HeadEnsemble(nn.Module):
    """Mean of the logits of heads that differ in their seed only."""

    def __init__(self, settings: HeadSettings, shape: TripletShape) -> None:
        super().__init__()
        self.shape = shape
        self.heads = nn.ModuleList(build_head(settings, shape) for _ in range(settings.ensemble_size))

    def forward(self, triplets: Triplets) -> Tensor:
        """Predict the logits of each patient. Shape (B, C)."""
        return torch.stack([head(triplets) for head in self.heads]).mean(0)


def build_head(settings: HeadSettings, shape: TripletShape) -> FusionHead:
    """Build one head of these settings, its weights drawn from torch's global generator."""
    module = import_module(f"fusion_ln.models.fusion.{settings.head.replace('-', '_')}")
    build: Callable[[TripletShape, HeadSettings], nn.Module] = module.HEAD
    return FusionHead(build(shape, settings), shape, settings)
