"""Calibration of predicted probabilities: reliability, Brier decomposition, and temperature scaling."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from statsmodels.stats.proportion import proportion_confint

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.intervals import LEVEL
from fusion_ln.metrics import equal_mass_bins
from fusion_ln.predictions import Predictions, predictions_from_logits

# A logarithm of the temperature beyond these stands for a model that is sure and always right, or knows nothing.
_LOG_TEMPERATURES = (-3.0, 3.0)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Fit the temperature that makes labels most likely under softmax(logits / temperature) (Guo et al. 2017, eq. 9).

    Args:
        logits: Logits of patients that the model was not trained on. Shape (P, C).
        labels: True class 0..C-1. Shape (P,).
    """

    def log_loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        top = scaled.max(axis=1)  # by hand: SciPy's last bits would move the flat optimum in its sixth digit
        total = np.log(np.exp(scaled - top[:, None]).sum(axis=1)) + top
        return float(np.mean(total - scaled[np.arange(len(labels)), labels]))

    return float(np.exp(minimize_scalar(log_loss, bounds=_LOG_TEMPERATURES, options={"xatol": 1e-8}).x))


def scale_by_fold(predictions: Predictions, inner: Predictions) -> tuple[Predictions, dict[int, float]]:
    """Scale each fold's held-out predictions by the temperature of its inner validation patients.

    Args:
        predictions: Out-of-fold predictions.
        inner: Predictions of each fold's inner validation patients by that fold's model; ``fold`` is the model's.

    Returns:
        The scaled predictions, and the temperature of each fold; above 1 where the model was overconfident.

    Raises:
        PredictionsError: If a fold has no inner validation patient.
    """
    temperatures = {}
    logits = predictions.logits.astype(np.float64)
    for fold in np.unique(predictions.folds).tolist():
        part = inner_part(inner, fold)
        temperatures[fold] = fit_temperature(inner.logits[part], inner.labels[part])
        logits[predictions.folds == fold] /= temperatures[fold]
    scaled = predictions_from_logits(
        predictions.classes, predictions.patients, predictions.folds, predictions.labels, logits
    )
    return scaled, temperatures


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


def reliability(predictions: Predictions) -> pd.DataFrame:
    """Tabulate predicted probability against observed share, for each class, in bins of equal mass.

    Returns:
        ``class, bin, n, predicted`` (mean in the bin) ``, observed, ci_low, ci_high`` (95 %, Wilson). Bins that tied
        probabilities leave empty are not listed.
    """
    rows = []
    for c, name in enumerate(predictions.classes):
        probs, events = predictions.probs[:, c], predictions.labels == c
        bins = equal_mass_bins(probs)
        for number in np.unique(bins).tolist():
            inside = bins == number
            n, count = int(inside.sum()), int(events[inside].sum())
            low, high = wilson(count, n)
            rows.append((name, number, n, probs[inside].mean(), count / n, low, high))
    return pd.DataFrame(rows, columns=["class", "bin", "n", "predicted", "observed", "ci_low", "ci_high"])


def calibration_by_class(predictions: Predictions) -> pd.DataFrame:
    """Decompose the Brier score, and compute the calibration error, of each class in bins of equal mass.

    The Brier score of a class is reliability - resolution + uncertainty (Murphy 1973) + within_bins, the last being
    what forecasts that differ within a bin add (Stephenson, Coelho & Jolliffe 2008); its sum over classes is the
    metric ``brier``.

    Returns:
        One row per class: ``class, ece, brier, reliability, resolution, uncertainty, within_bins``.
    """
    rows = []
    for c, name in enumerate(predictions.classes):
        probs, events = predictions.probs[:, c], (predictions.labels == c).astype(float)
        table = pd.DataFrame({"bin": equal_mass_bins(probs), "p": probs, "y": events})
        grouped = table.groupby("bin").agg(n=("p", "size"), p=("p", "mean"), y=("y", "mean"))
        share, base_rate = grouped["n"] / len(events), events.mean()
        parts = {
            "ece": (share * (grouped["p"] - grouped["y"]).abs()).sum(),
            "brier": np.square(probs - events).mean(),
            "reliability": (share * (grouped["p"] - grouped["y"]) ** 2).sum(),
            "resolution": (share * (grouped["y"] - base_rate) ** 2).sum(),
            "uncertainty": base_rate * (1 - base_rate),
        }
        explained = parts["reliability"] - parts["resolution"] + parts["uncertainty"]
        rows.append({"class": name, **parts, "within_bins": parts["brier"] - explained})
    return pd.DataFrame(rows)


def wilson(count: int, n: int) -> tuple[float, float]:
    """Compute a share's 95 % interval (Wilson 1927): it keeps its level for few patients and shares near 0 or 1."""
    low, high = proportion_confint(count, n, alpha=1 - LEVEL, method="wilson")
    return float(low), float(high)
