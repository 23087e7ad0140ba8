"""Calibration without bins: slope, intercept and a smooth curve of each class, by logistic recalibration."""

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import t as student

from fusion_ln.evaluation.limits.clusters import count_patients, sum_by_patient
from fusion_ln.evaluation.limits.resampling import resample_counts
from fusion_ln.evaluation.limits.shares import LEVEL, Z, middle
from fusion_ln.predictions import Predictions
from fusion_ln.threads import one_blas_thread

FEWEST_CALIBRATED = 10  # patients of a class, and of the rest, below which no interval and no curve is given
LOGIT_FLOOR = 1e-6  # keeps the logit finite
KNOTS = (0.1, 0.5, 0.9)  # quantiles of the logit (Harrell 2015, sec. 2.4.6)
STEEPEST = 20.0  # a slope beyond this means that the class is separated
_STEPS, _LARGEST_STEP = 25, 3.0
_RIDGE = 1e-6  # keeps the curvature invertible
_CURVE_RIDGE = 0.05  # keeps a resample in which a spline separates the class from bending without end


def recalibration(predictions: Predictions) -> pd.DataFrame:
    """Compute calibration intercept and slope of each class against the rest (Cox 1958; Van Calster et al. 2019).

    Slope: coefficient of the logit of the predicted probability; below 1 where the model is too sure. Intercept:
    calibration in the large, with the slope held at 1; above 0 where the class is more common than predicted.

    Returns:
        ``class, n`` (its patients) ``, intercept, intercept_low, intercept_high, slope, slope_low, slope_high``: 95 %
        intervals by Wald (the slopes of a bootstrap are too steep: its middle 95 % held in 0.86 to 0.91 of simulations
        with 250 patients, these in 0.95 to 0.97), of nodes by a jackknife over patients where it is wider, with
        Student's t of the patients who tell; None where a class or its rest has fewer than
        `FEWEST_CALIBRATED` patients, or the probabilities separate them.
    """
    rows = []
    for c, name in enumerate(predictions.classes):
        events, logits = predictions.labels == c, _logit_of(predictions, c)
        constant, line = np.ones((len(logits), 1)), _line(logits)
        of = predictions.clusters
        found = [_with_interval(constant, events, logits, of), _with_interval(line, events, 0.0, of)]
        rows.append((name, int(events.sum()), *chain.from_iterable(found)))
    stats = [f"{name}{end}" for name in ("intercept", "slope") for end in ("", "_low", "_high")]
    table = pd.DataFrame(rows, columns=["class", "n", *stats])
    return table.astype(dict.fromkeys(stats, object)).where(table.notna(), None)


def calibration_curves(
    predictions: Predictions, *, n_points: int = 41, n_resamples: int = 500, seed: int = 0
) -> pd.DataFrame:
    """Smooth the observed share over the predicted probability of each class.

    Logistic regression on a restricted cubic spline of the logit with three knots (Harrell 2015, sec. 10.11); the
    band is the pointwise 95 % percentile interval of a bootstrap over patients.

    Returns:
        ``class, predicted, observed, ci_low, ci_high``, from the 1st to the 99th percentile of what is predicted. A
        class with fewer than `FEWEST_CALIBRATED` patients, or so few of the rest, has no rows.
    """
    tables = []
    for c, name in enumerate(predictions.classes):
        events, logits = predictions.labels == c, _logit_of(predictions, c)
        if not _enough(events, predictions.clusters):
            continue
        first, last = (float(expit(end)) for end in np.quantile(logits, [0.01, 0.99]))
        predicted = np.linspace(first, last, n_points)
        knots = np.quantile(logits, KNOTS)
        draws = _draws(predictions, events, n_resamples, seed)
        fits = fit_logistic(_spline(logits, knots), events, draws(), ridge=_CURVE_RIDGE)
        observed = expit(fits @ _spline(logit(predicted), knots).T)  # (1 + R, points)
        low, high = middle(observed[1:])
        curve = {"predicted": predicted, "observed": observed[0], "ci_low": low, "ci_high": high}
        tables.append(pd.DataFrame({"class": name, **curve}))
    columns = ["class", "predicted", "observed", "ci_low", "ci_high"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns, dtype=float)


@one_blas_thread()
def fit_logistic(
    design: np.ndarray,
    events: np.ndarray,
    blocks: Iterator[np.ndarray],
    *,
    offset: np.ndarray | float = 0.0,
    ridge: float = _RIDGE,
) -> np.ndarray:
    """Fit logistic regressions of many resamples at once, by Newton's method from the fit of the sample.

    Args:
        design: Columns of the regression. Shape (P, K).
        events: What is to be predicted. bool, shape (P,).
        blocks: How often each patient stands in each resample, in blocks of shape (R, P).
        offset: Added to the linear predictor. Shape (P,).
        ridge: Half of it times the squared coefficients is taken from the log-likelihood.

    Returns:
        Coefficients of the sample, then of every resample. Shape (1 + R, K). Where the design separates the events
        they grow without end and are cut off far from 0.
    """
    start = np.zeros((1, design.shape[1]))
    sample = _newton(design, events, np.ones((1, len(events))), offset, ridge, start)
    return np.concatenate([sample, *(_newton(design, events, counts, offset, ridge, sample) for counts in blocks)])


def _newton(
    design: np.ndarray,
    events: np.ndarray,
    counts: np.ndarray,
    offset: np.ndarray | float,
    ridge: float,
    start: np.ndarray,
) -> np.ndarray:
    """Maximise the penalised log-likelihoods from ``start`` (1, K) on. Shape (R, K)."""
    n_columns = design.shape[1]
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)  # (P, K * K)
    found = np.repeat(start, len(counts), axis=0)
    for _ in range(_STEPS):
        probs = expit(found @ design.T + offset)
        gradient = (counts * (events - probs)) @ design - ridge * found
        curvature = ((counts * probs * (1 - probs)) @ products).reshape(-1, n_columns, n_columns)
        step = np.linalg.solve(curvature + ridge * np.eye(n_columns), gradient[:, :, None])[:, :, 0]
        largest = np.abs(step).max(axis=1, keepdims=True)
        found = found + step * np.minimum(1, _LARGEST_STEP / np.maximum(largest, 1e-12))
        if largest.max() < 1e-5:
            break
    return found


def _draws(
    predictions: Predictions, events: np.ndarray, n_resamples: int, seed: int
) -> Callable[[], Iterator[np.ndarray]]:
    """Make a function that draws the resamples anew; none where there are too few patients."""
    n = n_resamples if _enough(events, predictions.clusters) else 0
    everyone = np.zeros(len(events), dtype=np.int64)  # one group: the number of events is chance, too
    return lambda: resample_counts(everyone, n, seed, predictions.clusters)


def _with_interval(
    design: np.ndarray, events: np.ndarray, offset: np.ndarray | float, clusters: np.ndarray | None
) -> tuple[float | None, float | None, float | None]:
    """Fit a logistic regression and give its last coefficient with Wald's limits; None for what is without bounds."""
    coefficients = fit_logistic(design, events, iter(()), offset=offset)[0]
    probs = expit(design @ coefficients + offset)
    information = (design * (probs * (1 - probs))[:, None]).T @ design + _RIDGE * np.eye(design.shape[1])
    variance, quantile = np.linalg.inv(information)[-1, -1], Z
    if clusters is not None:
        variance = max(
            variance, _jackknife_variance(design, events - probs, probs * (1 - probs), information, clusters)
        )
        quantile = float(student.ppf((1 + LEVEL) / 2, _fewest(events, clusters) - 1))
    value, half = float(coefficients[-1]), quantile * float(np.sqrt(variance))
    if abs(value) > STEEPEST:
        return None, None, None
    bounded = _enough(events, clusters) and abs(value) + half <= STEEPEST
    return (value, value - half, value + half) if bounded else (value, None, None)


def _jackknife_variance(
    design: np.ndarray, residuals: np.ndarray, weights: np.ndarray, information: np.ndarray, clusters: np.ndarray
) -> float:
    """Compute the variance of the last coefficient from one Newton step without each patient, all nodes."""
    scores = sum_by_patient((design * residuals[:, None]).T, clusters).T  # (I, K)
    products = design[:, :, None] * design[:, None, :] * weights[:, None, None]
    own = sum_by_patient(products.transpose(1, 2, 0), clusters).transpose(2, 0, 1)  # (I, K, K)
    steps = np.linalg.solve(information - own, scores[:, :, None])[:, -1, 0]
    return float(np.square(steps - steps.mean()).sum() * (len(steps) - 1) / len(steps))


def _enough(events: np.ndarray, clusters: np.ndarray | None) -> bool:
    return _fewest(events, clusters) >= FEWEST_CALIBRATED


def _fewest(events: np.ndarray, clusters: np.ndarray | None) -> int:
    """Count the patients with an event, or those without if they are fewer."""
    return int(min(count_patients(events, clusters), count_patients(~events, clusters)))


def _logit_of(predictions: Predictions, c: int) -> np.ndarray:
    """Take the logit of the probability of a class. Shape (P,)."""
    return np.asarray(logit(predictions.probs[:, c].clip(LOGIT_FLOOR, 1 - LOGIT_FLOOR)))


def _line(logits: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones_like(logits), logits])


def _spline(logits: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Build the columns of a restricted cubic spline with three knots, a line where they coincide. (P, 2 or 3)."""
    first, middle, last = knots
    if min(middle - first, last - middle) < 1e-3:
        return _line(logits)

    def beyond(knot: float) -> np.ndarray:
        return np.asarray(np.maximum(logits - knot, 0) ** 3)

    bend = (
        beyond(first)
        - beyond(middle) * (last - first) / (last - middle)
        + beyond(last) * (middle - first) / (last - middle)
    )
    return np.column_stack([_line(logits), bend / (last - first) ** 2])
