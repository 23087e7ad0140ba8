"""Probabilities that may be believed: a calibration map per fold, learnt on its inner validation patients.

The map is Dirichlet calibration (Kull et al. 2019): logits = slope x log p + mixing log p + offsets. Alone, slope and
offsets are temperature scaling with a shift per class, which undoes over-sampling. Off-diagonal shrinkage becomes a
ridge on all three parts, of a weight chosen by simulation (``experiments/evidence/calibration_shrinkage.py``): few
patients end at the temperature, many learn how fusion bends the probabilities. Mixing and offsets may change ranks, so
a page shows the AUC of the calibrated probabilities beside that of the raw ones.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy  # its parts load when they are first used

from fusion_ln.errors import PredictionsError
from fusion_ln.metrics import need_patients
from fusion_ln.predictions import Predictions, log_softmax, softmax
from fusion_ln.terms import LOGIT, PROB
from fusion_ln.threads import one_blas_thread

PROB_FLOOR = 1e-9  # keeps logarithms finite
SLOPES = (0.05, 20.0)  # a model that knows nothing, or is always right, has no slope


@dataclass(frozen=True)
class Shrinkage:
    """Ridge weights of a calibration map: half of each times the squared deviation is added to the log loss's sum.

    Attributes:
        slope: Pulls the slope towards 1.
        offsets: Pulls the offsets towards 0.
        mixing: Pulls the mixing matrix towards 0.
    """

    slope: float = 2.0
    offsets: float = 2.0
    mixing: float = 100.0


SHRINKAGE = Shrinkage()
AS_IT_IS = Shrinkage(slope=math.inf, offsets=math.inf, mixing=math.inf)


@dataclass(frozen=True, eq=False)
class CalibrationMap:
    """Map from a model's probabilities to calibrated ones.

    Attributes:
        slope: 1 / temperature: below 1 where the model was too sure.
        offsets: Shift of each class. Shape (C,).
        mixing: Deviation from one slope for all classes. Shape (C, C), from column to row.
        shares: Share of each class among the calibration patients. Shape (C,).
        patients: Number of calibration patients.
    """

    slope: float
    offsets: np.ndarray
    mixing: np.ndarray
    shares: np.ndarray
    patients: int

    @property
    def temperature(self) -> float:
        """Temperature; above 1 where the model was too sure."""
        return 1 / self.slope

    @property
    def matrix(self) -> np.ndarray:
        """Slope and mixing in one matrix. Shape (C, C), from column to row."""
        return np.asarray(self.slope * np.eye(len(self.offsets)) + self.mixing)

    def logits(self, probs: np.ndarray, prevalence: np.ndarray | None = None) -> np.ndarray:
        """Calibrate probabilities (P, C); returns normalised logits (P, C).

        Args:
            prevalence: Share of each class in another population. Shape (C,). The shift is log(prevalence / share among
                the calibration patients): exact where patients of a class look alike in both places, but for what the
                ridge holds back (0.013 in probability with 29 calibration patients, 0.004 with 200, by simulation).
        """
        calibrated = log_ratios(probs) @ self.matrix.T + self.offsets
        if prevalence is not None:
            calibrated = calibrated + np.log(prevalence / self.shares)
        return log_softmax(calibrated)

    def apply(self, probs: np.ndarray, prevalence: np.ndarray | None = None) -> np.ndarray:
        """Calibrate probabilities, as `logits` does. Shape (P, C)."""
        return softmax(self.logits(probs, prevalence))


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Calibrated predictions of a model.

    Attributes:
        raw: Out-of-fold predictions as the model gave them.
        predictions: The same, calibrated by the map of the patient's fold.
        inner: Predictions of the inner validation patients, calibrated by the maps that they taught.
        maps: Map of each fold.
    """

    raw: Predictions
    predictions: Predictions
    inner: Predictions
    maps: dict[int, CalibrationMap]

    def at(self, prevalence: np.ndarray) -> Predictions:
        """Shift the calibrated predictions to a population with these shares of the classes (C,)."""
        return _apply_by_fold(self.raw, self.maps, prevalence)


@one_blas_thread()
def fit_map(
    probs: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], shrinkage: Shrinkage = SHRINKAGE
) -> CalibrationMap:
    """Fit a calibration map by penalised maximum likelihood.

    Args:
        probs: Probabilities of patients that the model was not trained on. Shape (P, C).
        labels: True class 0..C-1. Shape (P,).
        classes: Names of the C classes.
        shrinkage: Weight of the ridge on each part.

    Raises:
        PredictionsError: If a class has no patient: what it looks like cannot be learnt.
    """
    need_patients(labels, classes)
    n, n_classes = probs.shape
    if shrinkage == AS_IT_IS:
        shares = np.bincount(labels, minlength=n_classes) / n
        return CalibrationMap(1.0, np.zeros(n_classes), np.zeros((n_classes, n_classes)), shares, n)
    ratios, truth = log_ratios(probs), np.eye(n_classes)[labels]
    weights = np.repeat([shrinkage.slope, shrinkage.offsets, shrinkage.mixing], [1, n_classes, n_classes**2])
    start = np.zeros(len(weights))
    start[0] = 1

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """Compute the penalised log loss and its gradient."""
        slope, offsets, mixing = _split(parameters, n_classes)
        log_probs = log_softmax(slope * ratios + ratios @ mixing.T + offsets)
        surplus = np.exp(log_probs) - truth
        slopes = [(surplus * ratios).sum(), *surplus.sum(axis=0), *(surplus.T @ ratios).ravel()]
        away = parameters - start
        value = -(log_probs * truth).sum() + (weights * away**2).sum() / 2
        return value / n, (np.array(slopes) + weights * away) / n

    bounds: list[tuple[float | None, float | None]] = [SLOPES, *([(None, None)] * (len(weights) - 1))]
    found = scipy.optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13, "gtol": 1e-8, "maxiter": 1000}
    ).x
    slope, offsets, mixing = _split(found, n_classes)
    return CalibrationMap(slope, offsets, mixing, truth.mean(axis=0), n)


def calibrate(predictions: Predictions, inner: Predictions, *, learn: bool = True) -> Calibrated:
    """Calibrate each fold's held-out predictions by what its inner validation patients teach.

    Args:
        predictions: Out-of-fold predictions.
        inner: Predictions of each fold's inner validation patients by that fold's model; ``fold`` is the model's.
        learn: See `fit_maps`.

    Raises:
        PredictionsError: If a fold has no inner validation patient, or none of some class.
    """
    maps = fit_maps(inner, np.unique(predictions.folds).tolist(), learn=learn)
    known = Predictions(inner.classes, inner.table[np.isin(inner.folds, list(maps))])
    return Calibrated(predictions, _apply_by_fold(predictions, maps), _apply_by_fold(known, maps), maps)


def fit_maps(inner: Predictions, folds: list[int], *, learn: bool = True) -> dict[int, CalibrationMap]:
    """Fit the map of each fold on its inner validation patients.

    Args:
        inner: Their predictions; ``fold`` is the model's.
        folds: The folds.
        learn: False for a model that was itself fitted to their labels, as a stacked fusion: its likelihood calibrated
            it already, and a map learnt from its fit would make it too sure. It keeps its probabilities.

    Raises:
        PredictionsError: If a fold has no inner validation patient, or none of some class.
    """
    shrinkage = SHRINKAGE if learn else AS_IT_IS
    maps = {}
    for fold in folds:
        part = inner_part(inner, fold)
        try:
            maps[fold] = fit_map(inner.probs[part], inner.labels[part], inner.classes, shrinkage)
        except PredictionsError as error:
            raise PredictionsError(f"inner validation of fold {fold}: {error.problem}", error.way_out) from None
    return maps


def inner_part(inner: Predictions, fold: int) -> np.ndarray:
    """Mask the rows of ``inner`` that are of the fold's model. bool, shape (rows,).

    Raises:
        PredictionsError: If none is.
    """
    part: np.ndarray = inner.folds == fold
    if not part.any():
        raise PredictionsError(
            f"fold {fold} has no inner validation predictions, so nothing can be learnt for it.",
            "Give the inner_predictions.parquet of the same run.",
        )
    return part


def _apply_by_fold(
    predictions: Predictions, maps: dict[int, CalibrationMap], prevalence: np.ndarray | None = None
) -> Predictions:
    """Replace logits and probabilities by those of each fold's map."""
    logits = np.empty(predictions.probs.shape)
    for fold, found in maps.items():
        part = predictions.folds == fold
        logits[part] = found.logits(predictions.probs[part], prevalence)
    table = predictions.table.copy()
    table[[LOGIT + c for c in predictions.classes]] = logits
    table[[PROB + c for c in predictions.classes]] = np.exp(logits)
    return Predictions(predictions.classes, table)


def log_ratios(probs: np.ndarray) -> np.ndarray:
    """Take logarithms of probabilities, with mean zero over the classes. Shape (P, C)."""
    logs = np.log(np.maximum(probs.astype(np.float64), PROB_FLOOR))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))


def _split(parameters: np.ndarray, n_classes: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Split parameters into slope, offsets (C,) and mixing (C, C)."""
    mixing = parameters[1 + n_classes :].reshape(n_classes, n_classes)
    return float(parameters[0]), parameters[1 : 1 + n_classes], mixing
