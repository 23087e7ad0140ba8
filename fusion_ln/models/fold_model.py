"""A fold's model as answers are made of it: arrays in, arrays out, whatever computes between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fusion_ln.cohort.clinical import ClinicalColumn


@dataclass(frozen=True)
class Encoded:
    """What the network of a modality makes of N pictures.

    Attributes:
        tokens: Shape (N, T, D'); T is 0 where the fusion reads none.
        logits: Shape (N, C).
        features: What the network's own head reads. Shape (N, D).
    """

    tokens: np.ndarray
    logits: np.ndarray
    features: np.ndarray


class FoldModel(Protocol):
    """A network per modality followed by a fusion, in evaluation mode; several threads may ask it at once."""

    @property
    def columns(self) -> Sequence[ClinicalColumn]:
        """Clinical columns that the fusion takes besides pictures."""

    def encode(self, modality: str, pictures: np.ndarray) -> Encoded:
        """Encode prepared pictures of a modality, at least one. uint8, shape (N, 3, S, S)."""

    def fuse(self, tokens: np.ndarray, logits: np.ndarray, present: np.ndarray, clinical: np.ndarray) -> np.ndarray:
        """Fuse what was made of a patient's pictures to logits (B, C).

        Args:
            tokens: Shape (B, M, V, T, D').
            logits: Shape (B, M, V, C).
            present: Presence mask of the pictures, at least one per patient. bool, shape (B, M, V).
            clinical: Standardised columns. float32, shape (B, K).
        """
