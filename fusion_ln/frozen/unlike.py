"""Pictures unlike all that a model learnt from: distance in feature space to what the training pictures have in common.

Mahalanobis distance to the nearest class of the features before the head, with one covariance for all classes (Lee et
al. 2018). The covariance keeps its largest directions; all others share their mean variance, so that a picture that
leads out of the space of the training pictures is far away. Centres and directions are of no patient in particular.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusion_ln.errors import ModelError
from fusion_ln.files.tensors import read_tensors, write_tensors
from fusion_ln.frozen.record import FREEZE_AGAIN

KEPT_DIRECTIONS = 64  # that the covariance keeps
FEWEST = 2  # pictures of a class that has a centre
FLAGGED = 0.025  # expected share of patients like the study's, before the margin
MARGIN = 1.1  # one study's largest distances vary: without it 7.6 % of 680 fresh phantoms were flagged, not 2.5 %
VARIANCE_FLOOR = 1e-3  # variance, in units of the mean one: keeps features that never vary from deciding alone


@dataclass(frozen=True)
class FeatureMoments:
    """Moments of the training pictures of a network, in its space of D features.

    Attributes:
        centres: Mean of each class. Shape (C, D).
        directions: Of the largest variance around the class means. Shape (K, D).
        variances: Along them. Shape (K,).
        rest: Mean variance across them; a number as an array.
    """

    centres: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    rest: np.ndarray

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Compute the distance of features (N, D) to the nearest class, by the root of D. Shape (N,)."""
        squares = []
        for centre in self.centres:
            away = features.astype(np.float64) - centre
            along = away @ self.directions.T
            squares.append((np.square(along) / self.variances).sum(axis=1))
            if len(self.directions) < away.shape[1]:
                across = np.square(away).sum(axis=1) - np.square(along).sum(axis=1)
                squares[-1] += across.clip(0) / self.rest
        nearest: np.ndarray = np.sqrt(np.min(squares, axis=0) / features.shape[1])
        return nearest


PARTS = tuple(FeatureMoments.__dataclass_fields__)
ByModality = Mapping[str, FeatureMoments]


def learn_moments(features: np.ndarray, labels: np.ndarray) -> FeatureMoments:
    """Learn the moments of features (N, D) of training pictures with their classes (N,)."""
    features = features.astype(np.float64)
    names, groups, counts = np.unique(labels, return_inverse=True, return_counts=True)
    common = counts >= FEWEST if (counts >= FEWEST).any() else np.ones(len(names), dtype=bool)
    centres = np.stack([features[groups == group].mean(axis=0) for group in np.flatnonzero(common)])
    kept = common[groups]
    away = features[kept] - centres[(np.cumsum(common) - 1)[groups[kept]]]
    _, singular, directions = np.linalg.svd(away, full_matrices=False)
    degrees, width = max(len(away) - len(centres), 1), features.shape[1]
    variances = np.square(singular) / degrees
    k = min(KEPT_DIRECTIONS, len(variances), max(degrees // 2, 1))
    floor = max(VARIANCE_FLOOR * float(variances.sum()) / width, np.finfo(np.float32).tiny)
    rest = max(float(variances[k:].sum()) / max(width - k, 1), floor)
    return FeatureMoments(
        centres=centres.astype(np.float32),
        directions=directions[:k].astype(np.float32),
        variances=np.maximum(variances[:k], rest).astype(np.float32),
        rest=np.array(rest, dtype=np.float32),
    )


def learn_threshold(distances: np.ndarray, n_models: int) -> float:
    """Set the distance beyond which a patient is flagged, from the largest distance of each held-out patient.

    A new patient's largest distance is that to any of ``n_models`` models, each of which exceeds the threshold with
    probability `FLAGGED` / ``n_models`` at most; with too few patients for this it is their largest one. `MARGIN` times
    that distance is the threshold.

    Args:
        distances: Largest distance over a patient's pictures, by the model that held the patient out. Shape (P,).
        n_models: Number of models that answer.
    """
    rank = int(np.ceil((len(distances) + 1) * (1 - FLAGGED / n_models)))
    return MARGIN * float(np.sort(distances)[min(rank, len(distances)) - 1])


@dataclass(frozen=True)
class Known:
    """Moments of the training pictures, and the distance beyond which a patient is unlike them.

    Attributes:
        moments: By model and modality.
        threshold: Distance beyond which a patient is unlike the study's.
    """

    moments: Sequence[ByModality]
    threshold: float


def write_moments(path: Path, moments: Sequence[ByModality]) -> None:
    """Write the moments of each model, by the number of the modality."""
    write_tensors(
        path,
        {
            f"{place}.{m}.{part}": getattr(of, part)
            for place, known in enumerate(moments)
            for m, of in enumerate(known.values())
            for part in PARTS
        },
    )


def read_moments(path: Path, n_models: int, modalities: Sequence[str]) -> list[ByModality]:
    """Read the moments of each model.

    Raises:
        ModelError: If some are missing.
        RunError: If the file is damaged.
    """
    tensors = read_tensors(path, FREEZE_AGAIN)
    try:
        return [
            {
                modality: FeatureMoments(**{part: tensors[f"{place}.{m}.{part}"] for part in PARTS})
                for m, modality in enumerate(modalities)
            }
            for place in range(n_models)
        ]
    except KeyError as error:
        raise ModelError(f"{path}: holds no {error.args[0]}.", FREEZE_AGAIN) from None
