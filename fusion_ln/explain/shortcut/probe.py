"""Border probe: a simple model trained on frame and texts alone, to see if they predict the class at all."""

from collections.abc import Mapping

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import from_numpy
from torch.nn.functional import adaptive_avg_pool2d

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.explain.shortcut.alter import keep_frame
from fusion_ln.images.patients import PatientPictures
from fusion_ln.terms import FOLD, PATIENT

PROBE_SIDE = 48  # pixels: enough for the shape of a mark, few enough for a linear model
COMPONENTS = 50
SHARE_FLOOR = 1e-6  # probability


def probe_frame(
    pictures: PatientPictures, regions: PatientPictures, means: Mapping[str, np.ndarray], cohort: Cohort
) -> np.ndarray:
    """Predict logits (P, C) of each patient by a model trained on the patients of the other folds.

    The model is a logistic regression per modality, on the principal components of the pictures without tissue,
    reduced to `PROBE_SIDE` pixels. A patient's logits are the mean log-probabilities over the present modalities.

    Args:
        pictures: Pictures of P patients.
        regions: Regions of the pictures, see `find_regions`.
        means: Mean picture by modality, see `mean_picture`.
        cohort: Source of classes and folds.
    """
    fold_of = cohort.folds.set_index(PATIENT)[FOLD].loc[pictures.patients].to_numpy()
    total = np.zeros((len(pictures.patients), len(cohort.classes)))
    count = np.zeros((len(pictures.patients), 1))
    for modality, mean in enumerate(means.values()):
        present = (pictures.rows[:, modality] >= 0).any(axis=1)
        features = np.stack(
            [_features(pictures, regions, position, modality, mean) for position in np.flatnonzero(present).tolist()]
        )
        labels, folds = pictures.labels[present], fold_of[present]
        logits = np.zeros((len(labels), len(cohort.classes)))
        for fold in np.unique(folds):
            train = folds != fold
            logits[~train] = _fit_predict(features[train], labels[train], features[~train], len(cohort.classes))
        total[present] += logits
        count[present] += 1
    mean_logits: np.ndarray = total / count
    return mean_logits


def _features(
    pictures: PatientPictures, regions: PatientPictures, position: int, modality: int, mean: np.ndarray
) -> np.ndarray:
    """Average the frames of a patient's views on a coarse grid, as one vector."""
    rows = pictures.rows[position, modality]
    pixels, masks = (list(each.banks.values())[modality].pixels for each in (pictures, regions))
    frames = np.stack([keep_frame(pixels[row], masks[row, 0], mean) for row in rows[rows >= 0]]).mean(axis=0)
    side = min(PROBE_SIDE, frames.shape[-1])
    shrunk: np.ndarray = adaptive_avg_pool2d(from_numpy(frames / 255), side).numpy()
    return shrunk.ravel()


def _fit_predict(features: np.ndarray, labels: np.ndarray, held_out: np.ndarray, n_classes: int) -> np.ndarray:
    """Fit the model and predict the log-probabilities (P, C) of ``held_out``."""
    varies = np.ptp(features, axis=0) > 0
    if not varies.any():  # without frames and texts, only the frequency of the classes can be learnt
        shares = np.bincount(labels, minlength=n_classes) / len(labels)
        return np.log(np.maximum(np.tile(shares, (len(held_out), 1)), SHARE_FLOOR))
    components = PCA(min(COMPONENTS, len(labels) - 1), svd_solver="full")
    model = make_pipeline(StandardScaler(), components, StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    model.fit(features, labels)
    probs = np.full((len(held_out), n_classes), SHARE_FLOOR)
    probs[:, model[-1].classes_] = model.predict_proba(held_out)
    logs: np.ndarray = np.log(np.maximum(probs, SHARE_FLOOR))
    return logs
