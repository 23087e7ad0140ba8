"""A fold's model that torch computes."""

from collections.abc import Sequence

import numpy as np
import torch

from fusion_ln.cohort.clinical import ClinicalColumn
from fusion_ln.images.batches import as_network_input
from fusion_ln.models.fold_model import Encoded
from fusion_ln.models.triplet import TripletModel


class TorchFold:
    """A `FoldModel` of a `TripletModel` on the CPU."""

    def __init__(self, model: TripletModel) -> None:
        self.model = model

    @property
    def columns(self) -> Sequence[ClinicalColumn]:
        return self.model.columns

    def encode(self, modality: str, pictures: np.ndarray) -> Encoded:
        with torch.inference_mode():
            parts = self.model.read(modality, as_network_input(torch.from_numpy(pictures)))
        return Encoded(*(part.float().numpy() for part in parts))

    def fuse(self, tokens: np.ndarray, logits: np.ndarray, present: np.ndarray, clinical: np.ndarray) -> np.ndarray:
        arrays = (torch.from_numpy(each) for each in (tokens, logits, present, clinical))
        with torch.inference_mode():
            fused: np.ndarray = self.model.fuse_stacked(*arrays).numpy()
        return fused
