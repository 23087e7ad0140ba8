"""Shortcut audit: predictions of altered pictures, each by the model of the fold that held the patient out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import open_run_cohort
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
from fusion_ln.explanations import AuditRecord
from fusion_ln.files.atomic import write_atomically
from fusion_ln.files.folders import refuse_taken
from fusion_ln.files.formats import write_parquet
from fusion_ln.files.locks import LOCK, locked
from fusion_ln.files.names import as_file_name
from fusion_ln.images.bank import open_bank
from fusion_ln.images.patient_batch import PatientBatch
from fusion_ln.images.patients import PatientPictures, gather_pictures
from fusion_ln.models.triplet import TrainedRun, load_run, logits_of
from fusion_ln.predictions import Predictions, predictions_from_logits
from fusion_ln.progress import progress
from fusion_ln.records.origin import installed_versions
from fusion_ln.runs import RunFolder
from fusion_ln.terms import AUDIT_RECORD, FOLD, PATIENT

ALTERATIONS: dict[str, Alter] = {
    NODE_HIDDEN: hide_node,
    FRAME_ONLY: keep_frame,
    TEXTS_PAINTED: paint_over_texts,
    GREYED: grey_out,
}
AUDITED_AT_ONCE = 16  # patients


@dataclass(frozen=True)
class Material:
    """Patients of an audit, with their pictures.

    Attributes:
        cohort: Cohort of the run.
        pictures: Pictures of its patients.
        regions: Regions of each picture, in the same order; see `find_regions`.
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

    def alter(self, positions: np.ndarray, alter: Alter) -> PatientBatch:
        """Cut the patients at ``positions``, with every present picture altered."""
        batch, region_batch = self.pictures.cut(positions), self.regions.cut(positions)
        views = []
        for m, mean in enumerate(self.means.values()):
            pixels, regions = batch.pictures[m].numpy().copy(), region_batch.pictures[m].numpy()
            for patient, view in np.argwhere(batch.present[:, m].numpy()):
                pixels[patient, view] = alter(pixels[patient, view], regions[patient, view, 0], mean)
            views.append(torch.from_numpy(pixels))
        return replace(batch, pictures=views)

    def predictions(self, logits: np.ndarray) -> Predictions:
        """Make out-of-fold predictions of logits (P, C)."""
        patients, labels = self.pictures.patients.tolist(), self.pictures.labels
        return predictions_from_logits(self.cohort.classes, patients, self.folds, labels, logits)


def audit_run(run: RunFolder, folder: Path | None, out: Path, *, device: str = "cpu", seed: int = 0) -> None:
    """Predict every patient from altered pictures, and write the predictions.

    Writes ``predictions.parquet`` (a run's out-of-fold predictions once per alteration, named in the column
    ``alteration``), ``examples/<alteration>/<patient>-<modality>.png`` of two patients, and ``audit.json``.

    Args:
        run: Finished run.
        folder: Cohort of the run; None: the folder that it was made on.
        out: Folder to write to.
        device: Device of the models.
        seed: Seed of the swaps between patients.

    Raises:
        RunError: If the run is not finished, lacks checkpoints, takes clinical columns, which would look like a
            shortcut, or was made on another cohort; or if ``out`` holds anything but an audit.
        CohortError: If the cohort is missing.
        PictureError: If a picture cannot be read.
    """
    refuse_taken(out, AUDIT_RECORD)
    trained = load_run(run)
    if trained.clinical:
        raise RunError(
            f"{run.root}: its head also takes {', '.join(trained.clinical)}, which tell the class without any picture "
            "and would look like a shortcut.",
            "Choose a run without `--clinical`.",
        )
    cohort = open_run_cohort(run, folder)
    pictures = gather_pictures({m: open_bank(cohort, m, side) for m, side in trained.sides.items()})
    banks = {m: replace(bank, pixels=find_regions(cohort, m, trained.sides[m])) for m, bank in pictures.banks.items()}
    regions = replace(pictures, banks=banks)
    material = Material(cohort, pictures, regions)
    with locked(out / LOCK):
        _write(out, run, trained, material, device=torch.device(device), seed=seed)


def _write(
    out: Path, run: RunFolder, trained: TrainedRun, material: Material, *, device: torch.device, seed: int
) -> None:
    """Write the examples and the predictions; the record last."""
    pictures, regions, cohort = material.pictures, material.regions, material.cohort
    examples = _choose_examples(pictures)
    _write_examples(out, material, examples)
    predictions = _predict_all(trained, material, device, seed)
    predictions[PROBE] = material.predictions(probe_frame(pictures, regions, material.means, cohort))
    table = pd.concat([p.table.assign(**{ALTERATION: name}) for name, p in predictions.items()], ignore_index=True)
    write_parquet(out / "predictions.parquet", table)
    record = run.read_prediction_record()
    AuditRecord(
        run=run.name,
        kind=record.kind,
        settings=record.settings.model_dump(mode="json"),
        cohort=record.cohort,
        modalities=tuple(trained.sides),
        regions="truth" if knows_truth(cohort) else "rule",
        examples=tuple(pictures.patients[examples].tolist()),
        seed=seed,
        versions=installed_versions(),
    ).write(out / AUDIT_RECORD)


def _predict_all(trained: TrainedRun, material: Material, device: torch.device, seed: int) -> dict[str, Predictions]:
    """Predict the patients from the pictures of every alteration."""
    pictures, folds = material.pictures, material.folds
    cuts: dict[str, Callable[[np.ndarray], PatientBatch]] = {UNALTERED: pictures.cut}
    cuts |= {name: partial(material.alter, alter=alter) for name, alter in ALTERATIONS.items()}
    cuts |= {name: swapped.cut for name, swapped in _swaps(pictures, folds, seed)}
    logits = {name: np.zeros((len(folds), len(material.cohort.classes))) for name in cuts}
    with progress("Altered pictures", len(trained.models) * len(cuts)) as step:
        for fold, model in enumerate(trained.models):
            model.to(device)
            for name, cut in cuts.items():
                for positions in _batches(np.flatnonzero(folds == fold)):
                    logits[name][positions] = logits_of(model, cut(positions), device=device)
                step(f"fold {fold}, {name}")
            model.cpu()
    return {name: material.predictions(each) for name, each in logits.items()}


def _swaps(pictures: PatientPictures, folds: np.ndarray, seed: int) -> Iterator[tuple[str, PatientPictures]]:
    """Yield names and pictures of patients with swapped pictures, within folds: the model was trained on neither.

    There is none for one modality, where a swap within a class would only move predictions between patients.
    """
    if len(pictures.banks) < 2:
        return
    within = pictures
    for m in range(len(pictures.banks)):
        within = swap_within_class(within, folds, m, seed)
    yield SWAPPED, within
    for m, modality in enumerate(pictures.banks):
        yield SWAPPED_ONE + modality, swap(pictures, folds, m, seed)


def _batches(positions: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(positions), AUDITED_AT_ONCE):
        yield positions[start : start + AUDITED_AT_ONCE]


def _choose_examples(pictures: PatientPictures) -> np.ndarray:
    """Choose a patient of the first and of the last class: the first with the most modalities. Shape (2,)."""
    n_modalities = (pictures.rows >= 0).any(axis=2).sum(axis=1)
    chosen = []
    for label in (pictures.labels.min(), pictures.labels.max()):
        positions = np.flatnonzero(pictures.labels == label)
        chosen.append(positions[n_modalities[positions].argmax()])
    return np.array(chosen)


def _write_examples(out: Path, material: Material, positions: np.ndarray) -> None:
    """Write the first view of each modality of some patients, unaltered and altered."""
    batches = {UNALTERED: material.pictures.cut(positions)}
    batches |= {name: material.alter(positions, alter) for name, alter in ALTERATIONS.items()}
    for name, batch in batches.items():
        for m, modality in enumerate(material.pictures.banks):
            for row in np.flatnonzero(batch.present[:, m, 0]):
                image = Image.fromarray(batch.pictures[m][row, 0].numpy().transpose(1, 2, 0).copy())
                path = out / "examples" / name / f"{as_file_name(f'{batch.patients[row]}-{modality}')}.png"
                write_atomically(path, partial(image.save, format="png"))
