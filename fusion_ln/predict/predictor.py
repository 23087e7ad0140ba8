"""A run's models applied to new patients: pictures to probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from fusion_ln.cohort.clinical import standardise
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.decode import read_picture
from fusion_ln.errors import RunError
from fusion_ln.images.bank import ImageBank, open_bank, prepare_picture
from fusion_ln.images.patients import gather_pictures
from fusion_ln.models.triplet import TrainedRun, load_run, logits_of
from fusion_ln.predictions import softmax
from fusion_ln.runs import RunFolder
from fusion_ln.terms import MODALITIES_USED, PATIENT, PROB

PREDICTED = "predicted"
BATCH = 16  # patients


@dataclass(frozen=True)
class Predictor:
    """The models of all folds of a run; a prediction is the mean of the folds' probabilities."""

    trained: TrainedRun

    @property
    def modalities(self) -> list[str]:
        """Modalities that the run takes."""
        return list(self.trained.sides)

    @property
    def clinical(self) -> list[str]:
        """Clinical columns that the run takes; where one is not known, the mean of the training patients serves."""
        return self.trained.clinical

    def predict_pictures(
        self, pictures: Mapping[str, Path], *, frame: int = 0, clinical: Mapping[str, str] = MappingProxyType({})
    ) -> pd.DataFrame:
        """Predict one patient from at most one picture file per modality; see `_table` for the result.

        Raises:
            RunError: If there is none of the modalities that the run takes.
            CohortError: If a clinical value is not what its column holds.
            PictureError: If a picture cannot be read.
        """
        banks = {}
        for modality in self.modalities:
            if modality in pictures:
                side = self.trained.sides[modality]
                picture = prepare_picture(read_picture(pictures[modality], frame=frame), side)
                banks[modality] = ImageBank(picture[None], np.array(["patient"]), np.zeros(1, dtype=np.int64))
        return self._table(banks, pd.DataFrame({PATIENT: ["patient"], **clinical}))

    def predict_cohort(self, cohort: Cohort) -> pd.DataFrame:
        """Predict every patient of a cohort who has a modality that the run takes; see `_table` for the result."""
        held = [m for m in self.modalities if m in cohort.modalities and cohort.patients_with(m)]
        banks = {m: open_bank(cohort, m, self.trained.sides[m]) for m in held}
        return self._table(banks, cohort.patients)

    def _table(self, banks: dict[str, ImageBank], patients: pd.DataFrame) -> pd.DataFrame:
        """Columns ``patient_id, predicted, prob_<class>..., modalities``, one row per patient, sorted.

        ``patients`` holds ``patient_id`` and clinical columns.
        """
        if not banks:
            raise RunError(
                f"{self.trained.run.root}: takes {', '.join(self.modalities)}; no such picture was given.",
                f"Give at least one, as in `--{self.modalities[0]} FILE`.",
            )
        given = gather_pictures({m: banks.get(m) or _no_pictures(side) for m, side in self.trained.sides.items()})
        known = patients[patients[PATIENT].isin(given.patients)]
        models = [(model, standardise(known, model.columns)) for model in self.trained.models]
        probs, used = [], []
        for start in range(0, len(given.patients), BATCH):
            who = np.arange(start, min(start + BATCH, len(given.patients)))
            batch = given.cut(who)
            logits = [logits_of(model, batch.with_clinical(clinical)) for model, clinical in models]
            probs.append(np.mean([softmax(fold) for fold in logits], axis=0))
            used += batch.present.any(2).tolist()
        everyone = np.concatenate(probs)
        classes = self.trained.classes
        names = [classes[i] for i in everyone.argmax(axis=1)]
        table = pd.DataFrame({PATIENT: given.patients, PREDICTED: names})
        table[[PROB + c for c in classes]] = everyone
        table[MODALITIES_USED] = ["+".join(np.array(self.modalities)[there]) for there in used]
        return table


def _no_pictures(side: int) -> ImageBank:
    return ImageBank(np.zeros((0, 3, side, side), dtype=np.uint8), np.array([], dtype=str), np.array([], dtype=int))


def load_predictor(run: RunFolder) -> Predictor:
    """Load the models of all folds of a finished run.

    Raises:
        RunError: See `load_run`.
    """
    return Predictor(load_run(run))
