"""Patients of a run, each with the model of the fold that held the patient out."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch

from fusion_ln.cohort.clinical import standardise
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.explain.map_metrics import RANDOMIZED_SHARES
from fusion_ln.explain.network import Case, Explained
from fusion_ln.images.bank import open_bank
from fusion_ln.images.batches import as_network_input
from fusion_ln.images.patients import PatientPictures, gather_pictures
from fusion_ln.models.backbones import memory_layout
from fusion_ln.models.triplet import TripletModel
from fusion_ln.predictions import Predictions
from fusion_ln.terms import FOLD, LABEL, PATIENT


class HeldOut:
    """Models and patients of a finished run.

    One fold's model is kept at a time: go through the patients fold by fold.
    """

    def __init__(self, load: Callable[[int], TripletModel], cohort: Cohort, predictions: Predictions) -> None:
        self.cohort, self.classes = cohort, predictions.classes
        self._load = load
        table = predictions.table.set_index(PATIENT)
        self._folds, self._labels = table[FOLD].to_dict(), table[LABEL].to_dict()
        self._explained: dict[int, Explained] = {}
        self._randomized: dict[int, list[Explained]] = {}

    @cached_property
    def sides(self) -> dict[str, int]:
        """Modalities that the models take, with the pixels a side of their pictures."""
        explained = next(iter(self._explained.values()), None) or self.explained(0)
        return explained.model.sides

    @cached_property
    def _pictures(self) -> PatientPictures:
        return gather_pictures({m: open_bank(self.cohort, m, side) for m, side in self.sides.items()})

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.sides)

    def fold(self, patient: str) -> int:
        """Return the fold that held the patient out."""
        return int(self._folds[patient])

    def label(self, patient: str) -> int:
        """Return the true class."""
        return int(self._labels[patient])

    def explained(self, fold: int) -> Explained:
        """Return the model of a fold, with readable gradients."""
        if fold not in self._explained:
            model = self._load(fold)
            self._explained = {fold: Explained(model.to(memory_format=memory_layout(model)))}
        return self._explained[fold]

    def randomized(self, fold: int) -> list[Explained]:
        """Return copies of a fold's model with shuffled weights, one per `RANDOMIZED_SHARES`."""
        if fold not in self._randomized:
            draw = torch.Generator().manual_seed(fold)
            self._randomized = {fold: [self.explained(fold).shuffled(share, draw) for share in RANDOMIZED_SHARES]}
        return self._randomized[fold]

    def case(self, patient: str) -> Case:
        """Return a patient's pictures and clinical columns; the class to explain is 0 until it is chosen."""
        batch = self._pictures.cut(self._pictures.of([patient]))
        n_views = int(batch.present.sum(2).max())  # others of the cohort may have more
        pictures = tuple(as_network_input(p[:, :n_views]) for p in batch.pictures)
        patients = self.cohort.patients
        columns = self.explained(self.fold(patient)).model.columns
        batch = batch.with_clinical(standardise(patients[patients[PATIENT] == patient], columns))
        return Case(pictures, batch.present[:, :, :n_views], target=0, clinical=batch.clinical)

    def prior(self, fold: int) -> np.ndarray:
        """Compute the share of each class among the training patients of a fold. Shape (C,)."""
        training = self.cohort.patients[self.cohort.patients[PATIENT].isin(self.cohort.training_part(fold)[0])]
        counts = np.bincount(training[LABEL], minlength=len(self.classes))
        shares: np.ndarray = counts / counts.sum()
        return shares
