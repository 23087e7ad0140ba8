"""The shortcut audit: what a run's models say of altered pictures, each patient by the model that never saw it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import RunError
from fusion_ln.evaluation.shortcut import (
    ALTERATION,
    FRAME_ONLY,
    GREYED,
    NODE_HIDDEN,
    PROBE,
    SWAPPED,
    SWAPPED_ONE,
    TEXTS_PAINTED,
    UNALTERED,
)
from fusion_ln.explain.request import open_run_cohort
from fusion_ln.explain.shortcut.alter import (
    Alter,
    grey_out,
    hide_node,
    keep_frame,
    mean_picture,
    paint_over_texts,
    swap,
    swap_within_class,
)
from fusion_ln.explain.shortcut.probe import probe_frame
from fusion_ln.explain.shortcut.regions import find_regions, knows_truth
from fusion_ln.files import write_atomically, write_json, write_parquet
from fusion_ln.images.bank import open_bank
from fusion_ln.images.patients import PatientBatch, PatientPictures, gather_pictures
from fusion_ln.models.triplet import TrainedRun, load_run, logits_of
from fusion_ln.predictions import Predictions, predictions_from_logits
from fusion_ln.progress import progress
from fusion_ln.runs import RunFolder, installed_versions
from fusion_ln.terms import FOLD, PATIENT

ALTERATIONS: dict[str, Alter] = {
    NODE_HIDDEN: hide_node,
    FRAME_ONLY: keep_frame,
    TEXTS_PAINTED: paint_over_texts,
    GREYED: grey_out,
}
BATCH = 16  # patients


@dataclass(frozen=True)
class Material:
    """What the audit works on.

    Attributes:
        cohort: Who is asked about.
        pictures: Their pictures.
        regions: What lies where in them, see `find_regions`.
    """

    cohort: Cohort
    pictures: PatientPictures
    regions: PatientPictures

    @cached_property
    def means(self) -> dict[str, np.ndarray]:
        """Mean picture of each modality, see `mean_picture`."""
        return {m: mean_picture(bank.pixels, self.regions.banks[m].pixels) for m, bank in self.pictures.banks.items()}

    @cached_property
    def folds(self) -> np.ndarray:
        """Outer fold of each patient. Shape (P,)."""
        folds: np.ndarray = self.cohort.folds.set_index(PATIENT)[FOLD].loc[self.pictures.patients].to_numpy()
        return folds

    def altered(self, who: np.ndarray, alter: Alter) -> PatientBatch:
        """Patients with every picture that they have altered."""
        batch, where = self.pictures.cut(who), self.regions.cut(who)
        views = []
        for m, mean in enumerate(self.means.values()):
            shown, regions = batch.pictures[m].numpy().copy(), where.pictures[m].numpy()
            for patient, view in np.argwhere(batch.present[:, m].numpy()):
                shown[patient, view] = alter(shown[patient, view], regions[patient, view, 0], mean)
            views.append(torch.from_numpy(shown))
        return replace(batch, pictures=views)

    def predictions(self, logits: np.ndarray) -> Predictions:
        """Logits (P, C) as out-of-fold predictions."""
        patients, labels = self.pictures.patients.tolist(), self.pictures.labels
        return predictions_from_logits(self.cohort.classes, patients, self.folds, labels, logits)


def audit(run: RunFolder, folder: Path | None, out: Path, *, device: str = "cpu", seed: int = 0) -> None:
    """Predict from altered pictures and write what was said.

    Writes ``predictions.parquet`` (a run's out-of-fold predictions once per alteration, named in the column
    ``alteration``), ``examples/<alteration>/<patient>-<modality>.png`` of two patients, and ``audit.json``.

    Args:
        run: A finished run.
        folder: Its cohort; None: where the run was made on it.
        out: Where to write.
        device: Where the models compute.
        seed: Of the swaps between patients.

    Raises:
        RunError: If the run is not finished, has lost its models, takes clinical columns, which would look like a
            shortcut, or was made on another cohort.
        CohortError: If the cohort is not there.
        PictureError: If a picture cannot be read.
    """
    trained = load_run(run)
    if trained.clinical:
        raise RunError(
            f"{run.root}: its head also learnt from {', '.join(trained.clinical)}: what they tell without any picture "
            "would look like a shortcut.",
            "Choose a run without `--clinical`.",
        )
    cohort = open_run_cohort(run, folder)
    pictures = gather_pictures({m: open_bank(cohort, m, side) for m, side in trained.sides.items()})
    found = {m: replace(bank, pixels=find_regions(cohort, m, trained.sides[m])) for m, bank in pictures.banks.items()}
    regions = replace(pictures, banks=found)
    material = Material(cohort, pictures, regions)
    chosen = _two_patients(pictures)
    _write_examples(out, material, chosen)
    said = _ask_all(trained, material, torch.device(device), seed)
    said[PROBE] = material.predictions(probe_frame(pictures, regions, material.means, cohort))
    table = pd.concat([p.table.assign(**{ALTERATION: name}) for name, p in said.items()], ignore_index=True)
    write_parquet(out / "predictions.parquet", table)
    record = run.read_record()
    write_json(
        out / "audit.json",
        {
            "run": run.name,
            "kind": record["kind"],
            "settings": record["settings"],
            "cohort": record["cohort"],
            "modalities": list(trained.sides),
            "regions": "truth" if knows_truth(cohort) else "rule",
            "examples": pictures.patients[chosen].tolist(),
            "seed": seed,
            "versions": installed_versions(),
        },
    )


def _ask_all(trained: TrainedRun, material: Material, device: torch.device, seed: int) -> dict[str, Predictions]:
    """What the models say of every alteration."""
    pictures, folds = material.pictures, material.folds
    shown: dict[str, Callable[[np.ndarray], PatientBatch]] = {UNALTERED: pictures.cut}
    shown |= {name: partial(material.altered, alter=alter) for name, alter in ALTERATIONS.items()}
    shown |= {name: swapped.cut for name, swapped in _swaps(pictures, folds, seed)}
    logits = {name: np.zeros((len(folds), len(material.cohort.classes))) for name in shown}
    with progress("Altered pictures", len(trained.models) * len(shown)) as step:
        for fold, model in enumerate(trained.models):
            model.to(device)
            for name, cut in shown.items():
                for who in _batches(np.flatnonzero(folds == fold)):
                    logits[name][who] = logits_of(model, cut(who), device=device)
                step(f"fold {fold}, {name}")
            model.cpu()
    return {name: material.predictions(said) for name, said in logits.items()}


def _swaps(pictures: PatientPictures, folds: np.ndarray, seed: int) -> Iterator[tuple[str, PatientPictures]]:
    """Pictures of other patients of the same fold: the fold's model trained on neither.

    With one modality there is nothing to part: within a class the same predictions would only change owners.
    """
    if len(pictures.banks) < 2:
        return
    within = pictures
    for m in range(len(pictures.banks)):
        within = swap_within_class(within, folds, m, seed)
    yield SWAPPED, within
    for m, modality in enumerate(pictures.banks):
        yield SWAPPED_ONE + modality, swap(pictures, folds, m, seed)


def _batches(who: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(who), BATCH):
        yield who[start : start + BATCH]


def _two_patients(pictures: PatientPictures) -> np.ndarray:
    """Positions of the first patient with the most modalities of the first and of the last class."""
    held = (pictures.rows >= 0).any(axis=2).sum(axis=1)
    chosen = []
    for label in (pictures.labels.min(), pictures.labels.max()):
        own = np.flatnonzero(pictures.labels == label)
        chosen.append(own[held[own].argmax()])
    return np.array(chosen)


def _write_examples(out: Path, material: Material, who: np.ndarray) -> None:
    """The first view of each modality of some patients, as it is and altered."""
    shown = {UNALTERED: material.pictures.cut(who)}
    shown |= {name: material.altered(who, alter) for name, alter in ALTERATIONS.items()}
    for name, batch in shown.items():
        for m, modality in enumerate(material.pictures.banks):
            for row in np.flatnonzero(batch.present[:, m, 0]):
                image = Image.fromarray(batch.pictures[m][row, 0].numpy().transpose(1, 2, 0).copy())
                path = out / "examples" / name / f"{batch.patients[row]}-{modality}.png"
                write_atomically(path, partial(image.save, format="png"))
