"""A cheap model that is trained on the frame alone: can frame and texts tell the classes at all?"""

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

SIDE = 48  # pixels: enough for a mark's form, few enough for a linear model
COMPONENTS = 50
SMALLEST = 1e-6  # probability


def probe_frame(
    pictures: PatientPictures, regions: PatientPictures, means: Mapping[str, np.ndarray], cohort: Cohort
) -> np.ndarray:
    """Logits (P, C) of each patient by a model of the fold that held the patient out.

    Per modality a logistic regression on the principal components of the pictures with the tissue taken out, shrunk
    to `SIDE` pixels; a patient's logits are the mean of the log-probabilities over the modalities that the patient has.
    It learns from all patients outside the fold, as the models did.
    """
    fold_of = cohort.folds.set_index(PATIENT)[FOLD].loc[pictures.patients].to_numpy()
    total = np.zeros((len(pictures.patients), len(cohort.classes)))
    count = np.zeros((len(pictures.patients), 1))
    for modality, mean in enumerate(means.values()):
        has = (pictures.rows[:, modality] >= 0).any(axis=1)
        features = np.stack([_features(pictures, regions, who, modality, mean) for who in np.flatnonzero(has).tolist()])
        labels, folds = pictures.labels[has], fold_of[has]
        said = np.zeros((len(labels), len(cohort.classes)))
        for fold in np.unique(folds):
            known = folds != fold
            said[~known] = _fit(features[known], labels[known], features[~known], len(cohort.classes))
        total[has] += said
        count[has] += 1
    logits: np.ndarray = total / count
    return logits


def _features(
    pictures: PatientPictures, regions: PatientPictures, who: int, modality: int, mean: np.ndarray
) -> np.ndarray:
    """The mean frame of a patient's views, on a coarse grid."""
    rows = pictures.rows[who, modality]
    pixels, places = (list(each.banks.values())[modality].pixels for each in (pictures, regions))
    frames = np.stack([keep_frame(pixels[row], places[row, 0], mean) for row in rows[rows >= 0]]).mean(axis=0)
    side = min(SIDE, frames.shape[-1])
    shrunk: np.ndarray = adaptive_avg_pool2d(from_numpy(frames / 255), side).numpy()
    return shrunk.ravel()


def _fit(features: np.ndarray, labels: np.ndarray, asked: np.ndarray, n_classes: int) -> np.ndarray:
    """Log-probabilities of ``asked``, shape (P, C)."""
    varies = np.ptp(features, axis=0) > 0
    if not varies.any():  # a cohort without frames and texts: nothing to learn from but how frequent classes are
        shares = np.bincount(labels, minlength=n_classes) / len(labels)
        return np.log(np.maximum(np.tile(shares, (len(asked), 1)), SMALLEST))
    components = PCA(min(COMPONENTS, len(labels) - 1), svd_solver="full")
    model = make_pipeline(StandardScaler(), components, StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    model.fit(features, labels)
    probs = np.full((len(asked), n_classes), SMALLEST)
    probs[:, model[-1].classes_] = model.predict_proba(asked)
    logs: np.ndarray = np.log(np.maximum(probs, SMALLEST))
    return logs
