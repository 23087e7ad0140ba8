"""Answers of a model: calibrated probabilities, the set of classes, and the contribution of each modality."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from fusion_ln.cohort.clinical import standardise
from fusion_ln.errors import ModelError
from fusion_ln.evaluation.shapley import Coalition, coalitions, shapley_values
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.images.patients import PatientBatch, PatientPictures
from fusion_ln.models.triplet import TripletModel
from fusion_ln.terms import PATIENT

ANSWERED_AT_ONCE = 16  # patients
MISS_RATE = 0.1  # share of a class's patients whose set may miss it


@dataclass(frozen=True)
class Answers:
    """Answers for P patients.

    Attributes:
        patients: Sorted. Shape (P,).
        present: Presence mask of the modalities. bool, shape (P, M).
        probs: Calibrated probabilities. Shape (P, C).
        raw: Mean of the fold models' probabilities. Shape (P, C).
        member: Membership of each class in the set (CV+ at `MISS_RATE`). bool, shape (P, C).
        contributions: Shapley value of each modality in the probability of the likeliest class, from the prevalence of
            that class; 0 for an absent one. Shape (P, M).
    """

    patients: np.ndarray
    present: np.ndarray
    probs: np.ndarray
    raw: np.ndarray
    member: np.ndarray
    contributions: np.ndarray


def answer(
    model: FrozenModel, pictures: PatientPictures, patients: pd.DataFrame, prevalence: np.ndarray | None = None
) -> Answers:
    """Answer for every patient of ``pictures``.

    Args:
        model: The model.
        pictures: Pictures of each modality that the model takes, in its order.
        patients: ``patient_id`` and clinical columns; one that is missing is taken to be the training mean.
        prevalence: Share of each class among such patients (C,). None: as among the patients of the study.

    Raises:
        ModelError: If the model gives values that are not finite numbers.
        CohortError: If a clinical value does not fit its column.
    """
    rows = patients[patients[PATIENT].isin(pictures.patients)]
    clinical = [standardise(rows, fold.columns) for fold in model.models]
    parts = []
    for start in range(0, len(pictures.patients), ANSWERED_AT_ONCE):
        batch = pictures.cut(np.arange(start, min(start + ANSWERED_AT_ONCE, len(pictures.patients))))
        parts.append(_answer_batch(model, batch, clinical, prevalence))
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Answers.__dataclass_fields__}
    return Answers(**joined)


def _answer_batch(
    model: FrozenModel, batch: PatientBatch, clinical: Sequence[pd.DataFrame], prevalence: np.ndarray | None
) -> Answers:
    present = batch.modalities_present.numpy()
    by_coalition = _coalition_probs(model.models, batch, clinical)
    everything = tuple(range(present.shape[1]))
    folds = by_coalition[everything]
    raw = folds.mean(axis=0)
    if not (finite := np.isfinite(raw).all(axis=1)).all():
        raise ModelError(
            f"{model.root}: its models give patient {batch.patients[~finite][0]!r} values that are not finite numbers.",
            "Look at the patient's pictures (`fusionln cohort check`), or train the run again.",
        )
    shares = np.array(model.record.pooled.shares) if prevalence is None else prevalence
    values: dict[Coalition, np.ndarray] = {(): np.tile(shares, (len(raw), 1))}
    for chosen, probs in by_coalition.items():
        values[chosen] = values[()].copy()
        for subset, part in _by_subset(model, present, chosen).items():
            if subset:
                found = model.record.calibration_of(subset)
                values[chosen][part] = found.apply(probs.mean(axis=0)[part], prevalence)
    probs = values[everything]
    likeliest = probs.argmax(axis=1)
    member = np.zeros(probs.shape, dtype=bool)
    for subset, part in _by_subset(model, present, everything).items():
        member[part] = model.scores_of(subset).p_values(folds[:, part]) > MISS_RATE
    contributions = shapley_values(values)[:, np.arange(len(probs)), likeliest].T
    return Answers(batch.patients, present, probs, raw, member, contributions)


def _coalition_probs(
    models: Sequence[TripletModel], batch: PatientBatch, clinical: Sequence[pd.DataFrame]
) -> dict[Coalition, np.ndarray]:
    """Compute each fold's probabilities from each subset of the modalities; encodes every picture once a fold.

    Returns:
        Shape (K, B, C) by subset but the empty one; a patient with none of its pictures has those of all.
    """
    n = len(batch.modalities)
    chosen = [coalition for coalition in coalitions(n) if coalition]
    parts: dict[Coalition, list[np.ndarray]] = {coalition: [] for coalition in chosen}
    for model, table in zip(models, clinical, strict=True):
        own = batch.with_clinical(table)
        views, present, columns = own.inputs(own.modalities_present, torch.device("cpu"))
        with torch.inference_mode():
            encoded = [
                model.encode(modality, pictures, mask)
                for modality, pictures, mask in zip(batch.modalities, views, present.unbind(1), strict=True)
            ]
            for coalition in chosen:
                kept = torch.tensor([m in coalition for m in range(n)])[:, None] & present
                kept = torch.where(kept.any(2).any(1)[:, None, None], kept, present)
                parts[coalition].append(model.fuse(encoded, kept, columns).double().softmax(1).numpy())
    return {coalition: np.stack(folds) for coalition, folds in parts.items()}


def _by_subset(model: FrozenModel, present: np.ndarray, chosen: Coalition) -> dict[str, np.ndarray]:
    """Group patients by those of the ``chosen`` modalities that they have, named as in ``2d+elastic``."""
    kept = present & np.isin(np.arange(present.shape[1]), chosen)
    patterns, groups = np.unique(kept, axis=0, return_inverse=True)
    names = np.array(model.modalities)
    return {"+".join(names[pattern]): groups == group for group, pattern in enumerate(patterns)}
