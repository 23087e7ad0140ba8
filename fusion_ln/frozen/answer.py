"""Answers of a model: calibrated probabilities, the set of classes, and the contribution of each modality."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from fusion_ln.cohort.clinical import standardise
from fusion_ln.compute.threads import one_thread_each
from fusion_ln.errors import ModelError
from fusion_ln.evaluation.probabilities.cv_plus import MISS_RATE
from fusion_ln.evaluation.shapley import Coalition, coalitions, shapley_values
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.frozen.unlike import FeatureMoments
from fusion_ln.images.patients import PatientBatch, PatientPictures
from fusion_ln.models.triplet import TripletModel, Trunk
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
    clinical = [standardise(rows, one.columns) for one in model.models]
    starts = range(0, len(pictures.patients), ANSWERED_AT_ONCE)
    jobs = [(start, place) for start in starts for place in range(len(model.models))]

    def ask(job: tuple[int, int]) -> _Asked:
        start, place = job
        batch = pictures.cut(np.arange(start, min(start + ANSWERED_AT_ONCE, len(pictures.patients))))
        known = model.known.moments[place] if model.known else None
        trunks = model.trunks[place] if model.trunks else {}
        return _ask(model.models[place], batch.with_clinical(clinical[place]), known, trunks)

    with one_thread_each(), ThreadPoolExecutor(cores()) as pool:
        asked = dict(zip(jobs, pool.map(ask, jobs), strict=True))
    present = np.asarray((pictures.rows >= 0).any(axis=2))
    parts = []
    for start in starts:
        part = slice(start, start + ANSWERED_AT_ONCE)
        own = [asked[start, place] for place in range(len(model.models))]
        parts.append(_join(model, pictures.patients[part], present[part], own, prevalence))
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Answers.__dataclass_fields__}
    return Answers(**joined)


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
    model: TripletModel,
    batch: PatientBatch,
    known: Mapping[str, FeatureMoments] | None,
    trunks: Mapping[str, Trunk],
) -> _Asked:
    """Ask a model about some patients, from each subset of the modalities; encodes every picture once.

    A patient with none of a subset's pictures is asked about with those of all.
    """
    n = len(batch.modalities)
    views, present, columns = batch.inputs(batch.modalities_present, torch.device("cpu"))
    distances = np.full(present.shape[0], 0.0 if known else np.nan)
    encoded, probs = [], {}
    with torch.inference_mode():
        for modality, pictures, mask in zip(batch.modalities, views, present.unbind(1), strict=True):
            tokens, logits, features = model.encode_with_features(modality, pictures, mask, trunks.get(modality))
            encoded.append((tokens, logits))
            if known and mask.any():
                here = mask.numpy()
                away = np.zeros(here.shape)
                away[here] = known[modality].distances(features.float().numpy()[here])
                distances = np.maximum(distances, away.max(axis=1))
        for chosen in filter(None, coalitions(n)):
            kept = torch.tensor([m in chosen for m in range(n)])[:, None] & present
            kept = torch.where(kept.any(2).any(1)[:, None, None], kept, present)
            probs[chosen] = model.fuse(encoded, kept, columns).double().softmax(1).numpy()
        logits = torch.stack([each for _, each in encoded], 1).double()  # (B, M, V, C), zero where absent
        views_of = present.sum(2)[..., None]  # none of a modality: 0 / 0 is nan
        alone = (logits.sum(2) / views_of).softmax(-1).numpy()
    return _Asked(probs, distances, alone)


def _by_subset(model: FrozenModel, present: np.ndarray, chosen: Coalition) -> dict[str, np.ndarray]:
    """Group patients by those of the ``chosen`` modalities that they have, named as in ``2d+elastic``."""
    kept = present & np.isin(np.arange(present.shape[1]), chosen)
    patterns, groups = np.unique(kept, axis=0, return_inverse=True)
    names = np.array(model.modalities)
    return {"+".join(names[pattern]): groups == group for group, pattern in enumerate(patterns)}
