"""What the pictures of a cohort have in common: feature moments of a study's, by its networks, and the profile."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.compute.threads import one_thread_each
from fusion_ln.evaluation.external.profile import (
    CohortProfile,
    Moments,
    measure_pictures,
    moments_given_class,
    profile_cohort,
)
from fusion_ln.frozen.unlike import FeatureMoments, Known, learn_moments, learn_threshold
from fusion_ln.images.bank import ImageBank, open_bank
from fusion_ln.images.batches import as_network_input
from fusion_ln.models.triplet import TripletModel
from fusion_ln.terms import PATIENT, is_clinical
from fusion_ln.threads import cores

MOST_PICTURES = 96  # training pictures of a modality and fold: most of the time of a freezing
MEASURED_AT_ONCE = 64  # pictures


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


def profile_of(cohort: Cohort, sides: Mapping[str, int], *, labelled: bool = True) -> CohortProfile:
    """Make the profile of a cohort, see `CohortProfile`.

    Args:
        cohort: The cohort.
        sides: Pixels a side of the pictures, by modality.
        labelled: Look at labels, for pictures given the class.

    Raises:
        CohortError, PictureError: If a picture is not the one that was imported, or cannot be read.
    """
    held = [m for m in sides if m in cohort.modalities and cohort.patients_with(m)]
    banks = {m: open_bank(cohort, m, sides[m]) for m in held}
    features = {m: measure_pictures(bank.pixels) for m, bank in banks.items()}
    given_class: dict[str, dict[str, dict[str, Moments]]] = {}
    for m, bank in banks.items() if labelled else ():
        for name, moments in moments_given_class(features[m], bank.patients, bank.labels, cohort.classes).items():
            given_class.setdefault(name, {})[m] = moments
    clinical = cohort.patients[[name for name in cohort.patients if is_clinical(str(name))]]
    found = profile_cohort(cohort.images, cohort.patients[PATIENT].tolist(), list(sides), features, clinical)
    return found.model_copy(update={"given_class": given_class})
