"""Late fusion of the logits of single-modality models: the base of its heads.

The file of a head assigns a `LateHead` to ``HEAD``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch
from torch import Tensor

LATE_FLOOR = 1e-12  # keeps logarithms finite

Learnt = Mapping[str, list[float] | list[list[float]]]


@dataclass(frozen=True)
class ModalityLogits:
    """Logits of M single-modality models for P patients and C classes.

    Attributes:
        logits: Shape (P, M, C); those of an absent modality are never read.
        present: Presence mask of the modalities. bool, shape (P, M), at least one per row.
    """

    logits: Tensor
    present: Tensor

    @property
    def probs(self) -> Tensor:
        """Shape (P, M, C); an absent modality's are uniform."""
        return self.centred.softmax(-1)

    @property
    def centred(self) -> Tensor:
        """Logits with mean zero over the classes; all zero for an absent modality. (P, M, C)."""
        return torch.where(self.present[..., None], self.logits - self.logits.mean(-1, keepdim=True), 0)


@dataclass(frozen=True)
class LateHead:
    """A late fusion head.

    Attributes:
        apply: Fuses to logits (P, C), with what was learnt.
        learn: Learns from the logits and labels (P,) of inner validation patients; None: nothing is learnt.
    """

    apply: Callable[[ModalityLogits, Learnt], Tensor]
    learn: Callable[[ModalityLogits, np.ndarray], Learnt] | None = None


def load_late_head(name: str) -> LateHead:
    """Import a late head by name."""
    head: LateHead = import_module(f"fusion_ln.models.late.{name.replace('-', '_')}").HEAD
    return head


def weighted_probability(modality_logits: ModalityLogits, weights: Tensor) -> Tensor:
    """Average probabilities with ``weights`` (M,), renormalised over the modalities a patient has. Logits (P, C)."""
    present = modality_logits.present
    held = present * weights
    # Where every modality a patient has was given the weight zero, they count alike.
    held = torch.where(held.sum(1, keepdim=True) > LATE_FLOOR, held, present.to(held.dtype))
    probs = ((held / held.sum(1, keepdim=True))[..., None] * modality_logits.probs).sum(1)
    return probs.clamp(min=LATE_FLOOR).log()
