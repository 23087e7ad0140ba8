"""Feature moments of a study's training pictures, and how far the patients whom it held out lie from them."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.compute.threads import one_thread_each
from fusion_ln.errors import ModelError
from fusion_ln.frozen.record import FREEZE_AGAIN
from fusion_ln.frozen.unlike import FeatureMoments, learn_moments, learn_threshold
from fusion_ln.images.bank import ImageBank, as_network_input, open_bank
from fusion_ln.models.checkpoint import load_tensors, save_tensors
from fusion_ln.models.triplet import TripletModel
from fusion_ln.threads import cores

MOST_PICTURES = 96  # training pictures of a modality and fold: most of the time of a freezing
MEASURED_AT_ONCE = 64  # pictures
PARTS = tuple(FeatureMoments.__dataclass_fields__)

ByModality = Mapping[str, FeatureMoments]


@dataclass(frozen=True)
class Known:
    """Moments of the training pictures, and the distance beyond which a patient is unlike them.

    Attributes:
        moments: By model and modality.
        threshold: Distance beyond which a patient is unlike the study's.
    """

    moments: Sequence[ByModality]
    threshold: float


def learn_known(cohort: Cohort, folds: Sequence[TripletModel], refitted: TripletModel | None = None) -> Known:
    """Learn the moments of the training pictures, and the threshold from the pictures of held-out patients.

    Args:
        cohort: Of the study.
        folds: Model of each fold.
        refitted: The model that answers in their place; the threshold is still theirs.
    """
    banks = {modality: open_bank(cohort, modality, side) for modality, side in folds[0].sides.items()}
    with one_thread_each(), ThreadPoolExecutor(cores()) as pool:
        found = list(pool.map(lambda fold: _learn_fold(cohort, banks, folds[fold], fold), range(len(folds))))
        moments = [each for each, _ in found]
        if refitted:
            moments = [_learn_moments(cohort, banks, refitted, len(folds))]
    distances = np.concatenate([largest for _, largest in found])
    return Known(moments, learn_threshold(distances, len(moments)))


def _learn_moments(
    cohort: Cohort, banks: Mapping[str, ImageBank], model: TripletModel, fold: int
) -> dict[str, FeatureMoments]:
    """Learn the moments of some training pictures of a fold, evenly spaced in their order."""
    training, moments = cohort.training_part(fold)[0], {}
    for modality, bank in banks.items():
        rows = bank.rows_of(training)
        rows = rows[np.linspace(0, len(rows) - 1, min(MOST_PICTURES, len(rows))).round().astype(int)]
        moments[modality] = learn_moments(_features(model, modality, bank, rows), bank.labels[rows])
    return moments


def _learn_fold(
    cohort: Cohort, banks: Mapping[str, ImageBank], model: TripletModel, fold: int
) -> tuple[dict[str, FeatureMoments], np.ndarray]:
    """Learn a fold's moments, and find the largest distance of each patient whom it held out."""
    moments, largest = _learn_moments(cohort, banks, model, fold), dict.fromkeys(cohort.held_out(fold), 0.0)
    for modality, bank in banks.items():
        rows = bank.rows_of(list(largest))
        distances = moments[modality].distances(_features(model, modality, bank, rows))
        for patient, distance in zip(bank.patients[rows], distances, strict=True):
            largest[patient] = max(largest[patient], float(distance))
    return moments, np.array([distance for distance in largest.values() if distance > 0])


def _features(model: TripletModel, modality: str, bank: ImageBank, rows: np.ndarray) -> np.ndarray:
    """Compute the features of pictures of a bank. Shape (N, D)."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), MEASURED_AT_ONCE):
            pixels = torch.from_numpy(bank.pixels[rows[start : start + MEASURED_AT_ONCE]])
            parts.append(model.features(modality, as_network_input(pixels)).float().numpy())
    return np.concatenate(parts)


def write_moments(path: Path, moments: Sequence[ByModality]) -> None:
    """Write the moments of each model, by the number of the modality."""
    save_tensors(
        path,
        {
            f"{place}.{m}.{part}": torch.from_numpy(getattr(of, part))
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
    tensors = load_tensors(path)
    try:
        return [
            {
                modality: FeatureMoments(**{part: tensors[f"{place}.{m}.{part}"].numpy() for part in PARTS})
                for m, modality in enumerate(modalities)
            }
            for place in range(n_models)
        ]
    except KeyError as error:
        raise ModelError(f"{path}: holds no {error.args[0]}.", FREEZE_AGAIN) from None
