"""Loss of an exported graph by less exact numbers: answers to a cohort's patients, beside those of the model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import ModelError
from fusion_ln.evaluation.limits.auc import aucs
from fusion_ln.export.onnx_file import PRESENT
from fusion_ln.export.runtime import open_session
from fusion_ln.frozen.answer import answer
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.images.bank import empty_bank, open_bank
from fusion_ln.images.patients import PatientPictures, gather_pictures
from fusion_ln.progress import say

Inputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Loss:
    """Loss of a graph on patients of a cohort.

    Attributes:
        patients: Number of patients compared.
        calibrated: Number of other patients of the cohort whose pictures set the scales.
        auc: Mean one-vs-rest AUC of the model less that of the graph; None where a class has fewer than two patients.
        agreement: Share of patients with the same likeliest class.
        largest: Largest difference of a calibrated probability.
    """

    patients: int
    calibrated: int
    auc: float | None
    agreement: float
    largest: float


def measure_loss(model: FrozenModel, path: Path, cohort: Cohort) -> Loss:
    """Measure what the graph of a file loses on all patients of a cohort.

    Raises:
        ModelError: If the cohort has no picture that the model takes, or other classes.
        CohortError, PictureError: If a picture is not the one that was imported, or cannot be read.
    """
    pictures = gather(model, cohort)
    found = ask(path, inputs_of(model, pictures))
    return compare(model, cohort, pictures, found, range(len(found)))


def gather(model: FrozenModel, cohort: Cohort) -> PatientPictures:
    """Gather the cohort's pictures as the model takes them, one of each modality."""
    if cohort.fingerprint == model.record.study.fingerprint:
        say(f"{model.root}: was trained on the patients of {cohort.root}, so the loss of AUC may be larger on others.")
    held = [m for m in model.modalities if m in cohort.modalities and cohort.patients_with(m)]
    if not held:
        raise ModelError(
            f"--cohort {cohort.root}: has no picture of {', '.join(model.modalities)}.", "Give a cohort that has some."
        )
    if cohort.classes != model.record.classes:
        raise ModelError(
            f"--cohort {cohort.root}: its classes are {', '.join(cohort.classes)}; the model's are "
            f"{', '.join(model.record.classes)}.",
            "Give a cohort of the same classes.",
        )
    sides = model.record.modalities
    banks = {m: open_bank(cohort, m, sides[m]) if m in held else empty_bank(sides[m]) for m in sides}
    pictures = gather_pictures(banks)
    if pictures.rows.shape[2] > 1:
        several = pictures.patients[(pictures.rows >= 0).sum(axis=2).max(axis=1) > 1][0]
        raise ModelError(
            f"--cohort {cohort.root}: patient {several} has several pictures of a modality; the graph takes one.",
            "Give a cohort with one picture of each modality.",
        )
    return pictures


def inputs_of(model: FrozenModel, pictures: PatientPictures) -> Iterator[Inputs]:
    """Yield the inputs of the graph for each patient."""
    for position in range(len(pictures.patients)):
        batch = pictures.cut(np.array([position]))
        squares = [views[:, 0].permute(0, 2, 3, 1).contiguous().numpy() for views in batch.pictures]
        yield {**dict(zip(model.modalities, squares, strict=True)), PRESENT: batch.modalities_present.numpy()}


def ask(path: Path, inputs: Iterator[Inputs] | Sequence[Inputs]) -> np.ndarray:
    """Ask the graph of a file about each patient. Probabilities, shape (P, C)."""
    session = open_session(path, str(path))
    return np.concatenate([session.run(["probabilities"], each)[0] for each in inputs])


def compare(
    model: FrozenModel, cohort: Cohort, pictures: PatientPictures, found: np.ndarray, places: Sequence[int]
) -> Loss:
    """Compare probabilities (P, C) of a graph with the model's own, for the patients at these places."""
    rows = np.array(places)
    expected, labels = answer(model, pictures, cohort.patients).probs[rows], pictures.labels[rows]
    found = found[rows].astype(float)
    enough = np.bincount(labels, minlength=len(cohort.classes)).min() >= 2
    ours, theirs = (aucs(labels, each).macro for each in (expected, found)) if enough else (0, 0)
    loss = float(ours - theirs) if enough else None
    agreement = float((expected.argmax(axis=1) == found.argmax(axis=1)).mean())
    return Loss(len(rows), len(pictures.patients) - len(rows), loss, agreement, float(np.abs(expected - found).max()))
