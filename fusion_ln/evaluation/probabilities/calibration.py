"""Calibration of predicted probabilities in bins: reliability, and the parts of the Brier score."""

import numpy as np
import pandas as pd

from fusion_ln.evaluation.limits.clusters import effective_number, sum_by_patient
from fusion_ln.evaluation.limits.shares import share_interval, wilson
from fusion_ln.predictions import Predictions
from fusion_ln.resamples import equal_mass_bins


def reliability(predictions: Predictions) -> pd.DataFrame:
    """Tabulate predicted probability against observed share, for each class, in bins of equal mass.

    Returns:
        ``class, bin, n, predicted`` (mean in the bin) ``, observed, ci_low, ci_high`` (95 %, Wilson, of nodes at their
        `effective_number`). Bins that tied probabilities leave empty are not listed.
    """
    rows = []
    for c, name in enumerate(predictions.classes):
        probs, events = predictions.probs[:, c], predictions.labels == c
        bins = equal_mass_bins(probs)
        for number in np.unique(bins).tolist():
            inside = bins == number
            n, count = int(inside.sum()), int(events[inside].sum())
            low, high = _limits(count, n, events, inside, predictions.clusters)
            rows.append((name, number, n, probs[inside].mean(), count / n, low, high))
    return pd.DataFrame(rows, columns=["class", "bin", "n", "predicted", "observed", "ci_low", "ci_high"])


def _limits(
    count: int, n: int, events: np.ndarray, inside: np.ndarray, clusters: np.ndarray | None
) -> tuple[float, float]:
    """Compute the limits of the share of events in a bin."""
    if clusters is None:
        return share_interval(count, n)
    hits, of = (sum_by_patient(each.astype(np.int64), clusters) for each in (events & inside, inside))
    effective = effective_number(hits, of)
    low, high = wilson(count / n * effective, effective)
    return float(low), float(high)


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
