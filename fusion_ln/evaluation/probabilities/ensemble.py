"""Calibration of the mean of a study's fold models, which no patient of the study is unseen by all of.

A patient is unseen by the model of the fold that held it out, and by those of the folds whose inner validation part it
was in. So the means of one and of two or more unseen models can be calibrated, and the parameters are extrapolated in
1 / (number of models), in which the variance of a mean of models falls.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import scipy  # its parts load when they are first used

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.probabilities.maps import SLOPES, CalibrationMap, log_ratios
from fusion_ln.metrics import need_patients
from fusion_ln.predictions import Predictions, log_softmax
from fusion_ln.terms import FOLD, PATIENT
from fusion_ln.threads import one_blas_thread

MOST_NOISE = 5.0  # variance of a single model's logits around those of very many, in units of the latter's
RIDGE = 0.5  # pseudo-patients: holds the change with 1 / (number of models) near 0 where few patients tell it
LARGEST_GROUP = 3  # unseen models; more hardly occur


@dataclass(frozen=True)
class UnseenMeans:
    """Mean probabilities of the models that did not see a patient, one row per patient and group of such models.

    Attributes:
        probs: Shape (rows, C).
        labels: Shape (rows,).
        models: Size of the group. Shape (rows,).
        weights: 1 over the number of the patient's groups of that size. Shape (rows,).
    """

    probs: np.ndarray
    labels: np.ndarray
    models: np.ndarray
    weights: np.ndarray


def unseen_means(held_out: Predictions, inner: Predictions) -> UnseenMeans:
    """Average the predictions of each group of models that did not see a patient.

    Args:
        held_out: Out-of-fold predictions; only their patients count.
        inner: Predictions of each fold's inner validation patients by that fold's model; ``fold`` is the model's.
    """
    rows = pd.concat([held_out.table, inner.table[inner.table[PATIENT].isin(held_out.patients)]])
    rows = rows.drop_duplicates([PATIENT, FOLD])
    values = Predictions(held_out.classes, rows)
    probs, labels = values.probs, values.labels
    found: list[tuple[np.ndarray, int, int, float]] = []
    for positions in rows.reset_index(drop=True).groupby(PATIENT, sort=True).indices.values():
        for size in range(1, min(len(positions), LARGEST_GROUP) + 1):
            groups = list(combinations(positions, size))
            found += [(probs[list(group)].mean(axis=0), labels[group[0]], size, 1 / len(groups)) for group in groups]
    parts = [np.array(part) for part in zip(*found, strict=True)]
    return UnseenMeans(parts[0], parts[1].astype(np.int64), parts[2].astype(np.int64), parts[3])


@one_blas_thread()
def calibrate_mean(held_out: Predictions, inner: Predictions, n_models: int) -> CalibrationMap:
    """Learn the calibration of the mean of ``n_models`` fold models.

    The inverse of the scale and the offsets are linear in 1 / (number of models) and make the labels of `unseen_means`
    most likely; without inner predictions of the held-out patients they are those of single models.

    Raises:
        PredictionsError: If a class has no patient.
    """
    classes = held_out.classes
    need_patients(held_out.labels, classes)
    means = unseen_means(held_out, inner)
    n, c = len(held_out.patients), len(classes)
    logs = log_ratios(means.probs)
    beyond = 1 / means.models - 1 / n_models  # 0 at what is asked for, so that its parameters come first
    truth = np.eye(c)[means.labels]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        (scale, noise), offsets, drift = parameters[:2], parameters[2 : 2 + c], parameters[2 + c :]
        damped = 1 / (1 + noise * beyond)
        logits = (scale * damped)[:, None] * logs + offsets + drift * beyond[:, None]
        log_probs = log_softmax(logits)
        residual = (np.exp(log_probs) - truth) * means.weights[:, None]
        along = (residual * logs).sum(axis=1)
        penalty = RIDGE * (np.square(parameters[1]) + np.square(parameters[2:]).sum()) / 2
        steps = [[along @ damped, -scale * (along @ (beyond * damped**2))], residual.sum(axis=0), residual.T @ beyond]
        gradient = np.concatenate(steps)
        gradient[1:] += RIDGE * parameters[1:]
        return float(-(means.weights * (log_probs * truth).sum(axis=1)).sum() + penalty) / n, gradient / n

    start = np.concatenate([[1.0, 0.0], np.zeros(2 * c)])
    bounds = [SLOPES, (0, MOST_NOISE), *[(None, None)] * (2 * c)]
    solution = scipy.optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500}
    )
    if not np.isfinite(solution.x).all():
        raise PredictionsError("the calibration of the mean of the fold models does not converge.")
    offsets = solution.x[2 : 2 + c] - solution.x[2 : 2 + c].mean()
    shares = np.bincount(held_out.labels, minlength=c) / n
    return CalibrationMap(float(solution.x[0]), offsets, np.zeros((c, c)), shares, n)
