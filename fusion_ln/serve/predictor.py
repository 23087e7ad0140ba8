"""A run's models applied to new patients: pictures to probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.decode import read_picture
from fusion_ln.errors import RunError
from fusion_ln.images.bank import Batches, ImageBank, open_bank, prepare_picture
from fusion_ln.models.build import Classifier
from fusion_ln.models.checkpoint import Checkpoint, load_checkpoint, load_head
from fusion_ln.models.fusion import FusionHead
from fusion_ln.models.late import LATE, Opinions
from fusion_ln.predictions import softmax
from fusion_ln.runs import RunFolder
from fusion_ln.settings import HeadSettings
from fusion_ln.terms import MODALITIES_USED, PATIENT, PROB
from fusion_ln.training.heads import FusionTask
from fusion_ln.training.tasks import PictureTask
from fusion_ln.training.tokens import TripletBatches, compute_tokens, triplet_bank

PREDICTED = "predicted"


@dataclass(frozen=True)
class Predictor:
    """The models of all folds of a run; a prediction is the mean of the folds' probabilities.

    Attributes:
        run: The run that the models come from.
        classes: Class names, in label order.
        simulated: True if the models learnt from simulated patients.
        members: Per modality, the folds' models in fold order.
        late: Late head; None for a baseline or a trained head.
        learnt: What the late head learnt, per fold.
        heads: The folds' trained heads; empty for a baseline or a late head.
    """

    run: RunFolder
    classes: tuple[str, ...]
    simulated: bool
    members: dict[str, list[tuple[Classifier, Checkpoint]]]
    late: str | None = None
    learnt: list[Any] = field(default_factory=list)
    heads: list[tuple[FusionHead, HeadSettings]] = field(default_factory=list)

    @property
    def modalities(self) -> list[str]:
        """Modalities that the run takes."""
        return list(self.members)

    def predict_pictures(self, pictures: Mapping[str, Path], *, frame: int = 0) -> pd.DataFrame:
        """Predict one patient from at most one picture file per modality; see `_table` for the result.

        Raises:
            RunError: If there is none of the modalities that the run takes.
            PictureError: If a picture cannot be read.
        """
        banks = {}
        for modality in self.modalities:
            if modality in pictures:
                picture = prepare_picture(read_picture(pictures[modality], frame=frame), self._image_size(modality))
                banks[modality] = ImageBank(picture[None], np.array(["patient"]), np.zeros(1, dtype=np.int64))
        return self._table(banks)

    def predict_cohort(self, cohort: Cohort) -> pd.DataFrame:
        """Predict every patient of a cohort who has a modality that the run takes; see `_table` for the result."""
        held = [m for m in self.modalities if m in cohort.modalities and cohort.patients_with(m)]
        return self._table({m: open_bank(cohort, m, self._image_size(m)) for m in held})

    def _image_size(self, modality: str) -> int:
        return self.members[modality][0][1].settings.fit.image_size

    def _table(self, banks: dict[str, ImageBank]) -> pd.DataFrame:
        """Columns ``patient_id, predicted, prob_<class>..., modalities``, one row per patient, sorted."""
        if not banks:
            raise RunError(
                f"{self.run.root}: takes {', '.join(self.modalities)}; no such picture was given.",
                f"Give at least one, as in `--{self.modalities[0]} FILE`.",
            )
        patients = sorted({str(p) for bank in banks.values() for p in bank.patients})
        n_folds = len(next(iter(self.members.values())))
        logits_of = self._trained if self.heads else self._late
        probs = np.mean([softmax(logits_of(banks, patients, fold)) for fold in range(n_folds)], axis=0)
        table = pd.DataFrame({PATIENT: patients, PREDICTED: [self.classes[i] for i in probs.argmax(axis=1)]})
        table[[PROB + c for c in self.classes]] = probs
        held = {m: set(banks[m].patients) if m in banks else set() for m in self.modalities}
        table[MODALITIES_USED] = ["+".join(m for m in self.modalities if p in held[m]) for p in patients]
        return table

    def _late(self, banks: dict[str, ImageBank], patients: list[str], fold: int) -> np.ndarray:
        """Logits (P, C) of one fold: of its late head, or of the baseline itself."""
        opinions = self._opinions(banks, patients, fold)
        return LATE[self.late].apply(opinions, self.learnt[fold]) if self.late else opinions.logits[:, 0]

    def _trained(self, banks: dict[str, ImageBank], patients: list[str], fold: int) -> np.ndarray:
        """Logits (P, C) of one fold's trained head."""
        head, settings = self.heads[fold]
        device, pictures = torch.device("cpu"), []
        for modality, models in self.members.items():
            model, checkpoint = models[fold]
            # An absent modality is one black picture of nobody: heads never read what no patient has.
            side = checkpoint.settings.fit.image_size
            nobody = ImageBank(np.zeros((1, 3, side, side), dtype=np.uint8), np.array([""]), np.zeros(1, dtype=int))
            bank = banks.get(modality, nobody)
            pictures.append(compute_tokens(model, checkpoint.settings, bank, settings, versions=0, device=device))
        labels = pd.Series(0, index=["", *patients])
        bank_of_all = triplet_bank(pictures, labels, np.zeros((len(labels), 0), dtype=np.float32))
        batches = TripletBatches(bank_of_all, bank_of_all.of(patients), settings.batch_size)
        return FusionTask(head, modality_dropout=0).predict(batches, device).logits

    def _opinions(self, banks: dict[str, ImageBank], patients: list[str], fold: int) -> Opinions:
        """What the fold's model of each modality says; shapes (P, M, C) and (P, M)."""
        shape = (len(patients), len(self.members))
        logits, present = np.zeros((*shape, len(self.classes))), np.zeros(shape, dtype=bool)
        for column, (modality, models) in enumerate(self.members.items()):
            if modality not in banks:
                continue
            model, checkpoint = models[fold]
            bank = banks[modality]
            batches = Batches(bank, np.arange(len(bank.patients)), checkpoint.settings.fit.batch_size)
            said = PictureTask(modality, model).predict(batches, torch.device("cpu"))
            rows = np.searchsorted(patients, said.patients)
            logits[rows, column], present[rows, column] = said.logits, True
        return Opinions(logits, present)


def load_predictor(run: RunFolder) -> Predictor:
    """Load the models of all folds of a finished run.

    Raises:
        RunError: If the run is a pre-training or not finished, or a checkpoint of it or of a member is missing.
    """
    record = run.read_record()
    if record["kind"] == "pretraining":
        raise RunError(f"{run.root}: a pre-training, which predicts nothing.", "Fine-tune it: `run fusion --weights`.")
    if not run.finished:
        raise RunError(f"{run.root}: not finished.", "Give the command that began it again: it goes on from there.")
    baselines = [run] if record["kind"] == "baseline" else [RunFolder(run.root / m) for m in record["members"]]
    folds = range(record["cohort"]["n_folds"])
    members = {}
    for baseline in baselines:
        models = [load_checkpoint(baseline.checkpoint(fold)) for fold in folds]
        members[models[0][1].settings.modality] = models
    predictor = Predictor(run, tuple(record["cohort"]["classes"]), record["cohort"]["simulated"], members)
    if record["kind"] == "baseline":
        return predictor
    if "training" not in record["settings"]:
        return replace(predictor, late=record["settings"]["head"], learnt=record["learnt"])
    settings = HeadSettings.read(record["settings"]["training"], str(run.record))
    if settings.clinical:
        raise RunError(
            f"{run.root}: its head also learnt from {', '.join(settings.clinical)}, which `predict` cannot take.",
            "Choose a run without `--clinical`.",
        )
    return replace(predictor, heads=[(load_head(run.checkpoint(f)), settings) for f in folds])
