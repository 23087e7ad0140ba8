"""Answers of a model: calibrated probabilities, the set of classes, and the contribution of each modality."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fusion_ln.cohort.clinical import clinical_values, standardise
from fusion_ln.errors import ModelError
from fusion_ln.evaluation.probabilities.cv_plus import MISS_RATE
from fusion_ln.evaluation.shapley import Coalition, coalitions, shapley_values
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.frozen.unlike import FeatureMoments
from fusion_ln.images.patients import PatientPictures
from fusion_ln.models.fold_model import FoldModel
from fusion_ln.predictions import softmax
from fusion_ln.terms import PATIENT
from fusion_ln.threads import cores

ANSWERED_AT_ONCE = 16  # patients


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
        distance: Largest distance of the patient's pictures to what the models learnt from, in units of the one beyond
            which a patient is unlike the study's; nan where the model does not tell. Shape (P,).
        alone: Mean of the fold models' probabilities by the baseline of each modality by itself, as trained before any
            fusion; nan where the modality is absent, or its network was fine-tuned since. Shape (P, M, C).
    """

    patients: np.ndarray
    present: np.ndarray
    probs: np.ndarray
    raw: np.ndarray
    member: np.ndarray
    contributions: np.ndarray
    distance: np.ndarray
    alone: np.ndarray

    @property
    def unlike(self) -> np.ndarray:
        """True if some picture is unlike all that the models learnt from. bool, shape (P,)."""
        return np.asarray(self.distance > 1)


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
    clinical = [standardise(rows, one.columns) for one in model.folds]
    starts = range(0, len(pictures.patients), ANSWERED_AT_ONCE)
    jobs = [(start, place) for start in starts for place in range(len(model.folds))]

    def ask(job: tuple[int, int]) -> _Asked:
        start, place = job
        part = np.arange(start, min(start + ANSWERED_AT_ONCE, len(pictures.patients)))
        values = clinical_values(clinical[place], pictures.patients[part])
        known = model.known.moments[place] if model.known else None
        views, present = pictures.views(part), pictures.rows[part] >= 0
        return _ask(model.folds[place], list(pictures.banks), views, present, values, known)

    with _one_thread_each(model), ThreadPoolExecutor(cores()) as pool:
        asked = dict(zip(jobs, pool.map(ask, jobs), strict=True))
    present = np.asarray((pictures.rows >= 0).any(axis=2))
    parts = []
    for start in starts:
        part = slice(start, start + ANSWERED_AT_ONCE)
        own = [asked[start, place] for place in range(len(model.folds))]
        parts.append(_join(model, pictures.patients[part], present[part], own, prevalence))
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Answers.__dataclass_fields__}
    return Answers(**joined)


def _one_thread_each(model: FrozenModel) -> AbstractContextManager[None]:
    """Let torch compute with one thread in each of ours, where it computes at all: graphs do so by themselves."""
    if model.graphs:
        return nullcontext()
    from fusion_ln.compute.threads import one_thread_each

    return one_thread_each()


@dataclass(frozen=True)
class _Asked:
    """Answer of one model on B patients.

    Attributes:
        probs: Probabilities from each subset of the modalities but the empty one. Shape (B, C) each.
        distances: Largest distance of a patient's pictures to what the model knows; nan where that is not known. (B,).
        alone: Probabilities by the baseline of each modality; nan where it is absent. Shape (B, M, C).
    """

    probs: dict[Coalition, np.ndarray]
    distances: np.ndarray
    alone: np.ndarray


def _join(
    model: FrozenModel,
    patients: np.ndarray,
    present: np.ndarray,
    asked: Sequence[_Asked],
    prevalence: np.ndarray | None,
) -> Answers:
    """Join what the models say of some patients to calibrated answers."""
    by_coalition = {chosen: np.stack([one.probs[chosen] for one in asked]) for chosen in asked[0].probs}
    everything = tuple(range(present.shape[1]))
    folds = by_coalition[everything]
    raw = folds.mean(axis=0)
    if not (finite := np.isfinite(raw).all(axis=1)).all():
        raise ModelError(
            f"{model.root}: its models give patient {patients[~finite][0]!r} values that are not finite numbers.",
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
    distances = np.max([one.distances for one in asked], axis=0)
    relative = distances / model.known.threshold if model.known else distances
    alone = np.mean([one.alone for one in asked], axis=0)
    if model.record.fine_tuned:
        alone = np.full_like(alone, np.nan)
    return Answers(patients, present, probs, raw, member, contributions, relative, alone)


def _ask(
    model: FoldModel,
    modalities: Sequence[str],
    views: Sequence[np.ndarray],
    present: np.ndarray,
    clinical: np.ndarray,
    known: Mapping[str, FeatureMoments] | None,
) -> _Asked:
    """Ask a model about some patients, from each subset of the modalities; encodes every picture once.

    A patient with none of a subset's pictures is asked about with those of all.
    """
    distances = np.full(len(present), 0.0 if known else np.nan)
    tokens, logits = [], []
    for modality, pictures, mask in zip(modalities, views, present.swapaxes(0, 1), strict=True):
        # Without any picture, a black one gives the shapes.
        seen = pictures[mask] if mask.any() else np.zeros((1, *pictures.shape[2:]), np.uint8)
        encoded = model.encode(modality, seen)
        tokens.append(_spread(encoded.tokens, mask))
        logits.append(_spread(encoded.logits, mask))
        if known and mask.any():
            away = np.zeros(mask.shape)
            away[mask] = known[modality].distances(encoded.features)
            distances = np.maximum(distances, away.max(axis=1))
    of_all = np.stack(tokens, 1), np.stack(logits, 1)  # (B, M, V, T, D') and (B, M, V, C), zero where absent
    fused = {}
    for chosen in filter(None, coalitions(len(modalities))):
        kept = np.isin(np.arange(len(modalities)), chosen)[:, None] & present
        kept = np.where(kept.any((1, 2))[:, None, None], kept, present)
        fused[chosen] = model.fuse(*of_all, kept, clinical).astype(np.float64)
    with np.errstate(invalid="ignore"):  # none of a modality: 0 / 0 is nan
        probs = {chosen: softmax(logits) for chosen, logits in fused.items()}
        alone = softmax(of_all[1].astype(np.float64).sum(2) / present.sum(2)[..., None])
    return _Asked(probs, distances, alone)


def _spread(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Lay values of pictures (N, ...) where the presence mask (B, V) has them, zeros elsewhere. Shape (B, V, ...)."""
    spread = np.zeros((*mask.shape, *values.shape[1:]), np.float32)
    spread[mask] = values[: int(mask.sum())]
    return spread


def _by_subset(model: FrozenModel, present: np.ndarray, chosen: Coalition) -> dict[str, np.ndarray]:
    """Group patients by those of the ``chosen`` modalities that they have, named as in ``2d+elastic``."""
    kept = present & np.isin(np.arange(present.shape[1]), chosen)
    patterns, groups = np.unique(kept, axis=0, return_inverse=True)
    names = np.array(model.modalities)
    return {"+".join(names[pattern]): groups == group for group, pattern in enumerate(patterns)}
