"""The patients of a run, each beside the model that did not train on the patient."""

import numpy as np
import torch

from fusion_ln.cohort.clinical import standardised
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.explain.map_metrics import RANDOMIZED_SHARES
from fusion_ln.explain.network import Case, Explained
from fusion_ln.images.bank import as_network_input, open_bank
from fusion_ln.images.patients import gather_pictures
from fusion_ln.models.triplet import TrainedRun
from fusion_ln.predictions import Predictions
from fusion_ln.terms import FOLD, LABEL, PATIENT


class HeldOut:
    """Models and patients of a finished run.

    Models are made ready when the first patient of their fold comes, and dropped with the last: ask fold by fold.
    """

    def __init__(self, trained: TrainedRun, cohort: Cohort, said: Predictions) -> None:
        self.trained, self.cohort = trained, cohort
        table = said.table.set_index(PATIENT)
        self._folds, self._labels = table[FOLD].to_dict(), table[LABEL].to_dict()
        self._pictures = gather_pictures({m: open_bank(cohort, m, side) for m, side in trained.sides.items()})
        self._explained: dict[int, Explained] = {}
        self._forgetful: dict[int, list[Explained]] = {}

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.trained.sides)

    def fold(self, patient: str) -> int:
        """The fold whose model did not train on the patient."""
        return int(self._folds[patient])

    def label(self, patient: str) -> int:
        """The true class."""
        return int(self._labels[patient])

    def explained(self, fold: int) -> Explained:
        """The model of a fold, ready."""
        if fold not in self._explained:
            self._explained = {fold: Explained(self.trained.models[fold])}
        return self._explained[fold]

    def randomized(self, fold: int) -> list[Explained]:
        """The model of a fold that forgot, see `RANDOMIZED_SHARES`."""
        if fold not in self._forgetful:
            draw = torch.Generator().manual_seed(fold)
            self._forgetful = {fold: [self.explained(fold).shuffled(share, draw) for share in RANDOMIZED_SHARES]}
        return self._forgetful[fold]

    def case(self, patient: str) -> Case:
        """A patient's pictures; the class to explain is not chosen yet."""
        batch = self._pictures.cut(self._pictures.of([patient]))
        n_views = int(batch.present.sum(2).max())  # others of the cohort may have more
        pictures = tuple(as_network_input(p[:, :n_views]) for p in batch.pictures)
        patients = self.cohort.patients
        own = standardised(patients[patients[PATIENT] == patient], self.trained.models[self.fold(patient)].columns)
        return Case(pictures, batch.present[:, :, :n_views], target=0, clinical=torch.from_numpy(own))

    def prior(self, fold: int) -> np.ndarray:
        """Share of each class among the patients that the model of a fold learnt from. Shape (C,)."""
        learnt = self.cohort.patients[self.cohort.patients[PATIENT].isin(self.cohort.training_part(fold)[0])]
        counts = np.bincount(learnt[LABEL], minlength=len(self.trained.classes))
        shares: np.ndarray = counts / counts.sum()
        return shares
