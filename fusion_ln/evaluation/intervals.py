"""Confidence intervals of every metric, for one model and for pairs of models, over patients.

Simulation decided which interval a metric gets (``experiments/evidence/evidence_calibration.py``): shares of patients
Wilson's, their means over the classes MOVER's, AUCs the limits of `fusion_ln.evaluation.limits.auc`, F1, MCC and losses
the BCa bootstrap where there are patients and errors enough, a difference MOVER's from the limits of its two models, a
mean over seeds MOVER's from the limits of each. Each takes the trained models as given: only the patients vary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.limits import large
from fusion_ln.evaluation.limits.clusters import alike_patients
from fusion_ln.evaluation.limits.metrics import ShareLimits, closed_limits, resampling_holds
from fusion_ln.evaluation.limits.resampled import JACKKNIFE_GROUPS, columns_of, draw_metrics
from fusion_ln.evaluation.limits.resampling import bca, strata
from fusion_ln.evaluation.limits.shares import (
    Limits,
    Z,
    difference_limits,
    mean_limits,
    middle,
    student_quantile,
    wilson,
)
from fusion_ln.metrics import METRICS, Metric, need_patients, score, score_summary
from fusion_ln.predictions import Predictions
from fusion_ln.terms import FOLD, LABEL

# A metric over all classes stands in the tables with this in the column `class`.
ALL_CLASSES = "all"


@dataclass(frozen=True)
class Resampled:
    """M metrics of one model, or M differences between two, with their bootstrap draws.

    Attributes:
        names: As `fusion_ln.metrics.score` names them.
        value: Values on the sample. Shape (M,).
        draws: Values on each bootstrap resample. Shape (R, M).
        influence: Scaled change when a patient, or a group of patients, is left out. Shape (G, M).
        has_interval: Whether the draws give an interval that holds. Shape (M,).
        closed: Limits in closed form, NaN where there is none; None for a difference of models.
        quantile: Standard errors to either limit of the BCa interval; more than `Z` where few patients have most nodes.
    """

    names: tuple[str, ...]
    value: np.ndarray
    draws: np.ndarray
    influence: np.ndarray
    has_interval: np.ndarray
    closed: Limits | None = None
    quantile: float = Z

    def minus(self, other: "Resampled") -> "Resampled":
        """Subtract another model's metrics, paired: both come from one call of `resample`, on the same draws."""
        assert self.names == other.names
        return Resampled(
            self.names,
            self.value - other.value,
            self.draws - other.draws,
            self.influence - other.influence,
            self.has_interval & other.has_interval,
        )

    @cached_property
    def interval(self) -> Limits:
        """The 95 % interval: the closed form or BCa; NaN where neither holds. Two of shape (M,)."""
        varies = self.has_interval & (np.ptp(self.draws, axis=0) > 0)
        limits = [np.where(varies, end, np.nan) for end in self.bca_interval()]
        if self.closed is not None:
            limits = [np.where(np.isnan(own), end, own) for own, end in zip(self.closed, limits, strict=True)]
        return limits[0], limits[1]

    def difference_interval(self, other: "Resampled") -> Limits:
        """Compute the 95 % interval of this model minus another.

        MOVER takes each model's own `interval` and the correlation of the two; NaN where one of them has none.
        """
        r = self._correlation(other, undefined=0)
        return difference_limits(self.value, other.value, self.interval, other.interval, r)

    def _correlation(self, other: "Resampled", *, undefined: float) -> np.ndarray:
        """Correlate the patients' influence on two models' metrics, ``undefined`` where one does not vary. (M,)."""
        products = (self.influence * other.influence).sum(axis=0)
        spread = np.sqrt(np.square(self.influence).sum(axis=0) * np.square(other.influence).sum(axis=0))
        return np.asarray(np.divide(products, spread, out=np.full_like(products, undefined), where=spread > 0))

    def percentile_interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Compute the limits of the middle 95 % of the draws (Efron & Tibshirani 1993, ch. 13). Two of shape (M,)."""
        return middle(self.draws)

    def bca_interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Compute the interval corrected for bias and skewness, see `bca`. Two of shape (M,)."""
        return bca(self.draws, self.value, self.influence, self.quantile)

    def p_value(self) -> np.ndarray:
        """Compute the two-sided bootstrap p-value of the hypothesis that the value is 0. Shape (M,).

        Twice the share of draws on the far side of 0, the sample counted as one draw, so never 0; below 0.05 when
        the percentile interval leaves 0 out.
        """
        fewer = np.minimum((self.draws <= 0).sum(axis=0), (self.draws >= 0).sum(axis=0))
        shares: np.ndarray = 2 * (fewer + 1) / (len(self.draws) + 1)
        return shares.clip(max=1)

    def table(self) -> pd.DataFrame:
        """Build the table of `metric_intervals`."""
        table = name_columns(self.names)
        table["value"] = self.value
        table["ci_low"], table["ci_high"] = self.interval
        return table


def metric_intervals(predictions: Predictions, *, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Compute every metric of a model with its 95 % intervals.

    Returns:
        One row per metric: ``metric, class`` (`ALL_CLASSES` for a metric over all of them), ``value, ci_low, ci_high``;
        no limits where no interval holds (see `Metric.needs`, `Metric.caveat`).

    Raises:
        PredictionsError: If a class has fewer than 2 patients.
    """
    return resample([predictions], n_resamples=n_resamples, seed=seed)[0].table()


def paired_differences(a: Predictions, b: Predictions, *, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Compute every metric's difference between two models on the same patients, with its 95 % intervals.

    Patients are drawn with replacement within each class, the same draw for both models.

    Returns:
        One row per metric: ``metric, class, value_a, value_b, difference`` (a - b) ``, ci_low, ci_high, bootstrap_p``;
        no limits where no interval holds.

    Raises:
        PredictionsError: If the two differ in patients, folds, classes or labels, or a class has fewer than 2 patients.
    """
    resampled_a, resampled_b = resample(list(align(a, b)), n_resamples=n_resamples, seed=seed)
    return difference_table(resampled_a, resampled_b)


def difference_table(a: Resampled, b: Resampled) -> pd.DataFrame:
    """Build the table of `paired_differences` from resamples."""
    difference = a.minus(b)
    table = name_columns(a.names).assign(value_a=a.value, value_b=b.value, difference=difference.value)
    table["ci_low"], table["ci_high"] = a.difference_interval(b)
    table["bootstrap_p"] = difference.p_value()
    return table


def name_columns(names: tuple[str, ...]) -> pd.DataFrame:
    """Build the columns ``metric`` and ``class`` of metrics as `fusion_ln.metrics.score` names them."""
    return pd.DataFrame([split_name(name) for name in names], columns=["metric", "class"])


def split_name(name: str) -> tuple[str, str]:
    """Split a metric's name, as `fusion_ln.metrics.score` spells it, into metric and class (or `ALL_CLASSES`)."""
    metric, _, of_class = name.partition(":")
    return metric, of_class or ALL_CLASSES


def resample(
    models: Sequence[Predictions],
    *,
    n_resamples: int,
    seed: int,
    metrics: Sequence[Metric] = METRICS,
    share_limits: ShareLimits = wilson,
) -> list[Resampled]:
    """Compute metrics of models that predicted the same patients, on the same bootstrap draws.

    Memory does not grow with patients x draws: counts are made and used block by block, and samples from
    `fusion_ln.evaluation.limits.large.LARGE` patients on are drawn by their sums. Models whose mean is to be
    taken (see `mean_of`) need `wilson_of_few`: near 1 the mean of limits is Wilson's own where the seeds agree.

    Raises:
        PredictionsError: If a class has fewer than 2 patients: no draw could then vary it.
    """
    labels, classes, clusters = models[0].labels, models[0].classes, models[0].clusters
    need_patients(labels, classes, at_least=2, clusters=clusters)
    probs = [model.probs for model in models]
    values = [columns_of(score(labels, p, classes, metrics=metrics)) for p in probs]
    if large.draws_by_sums(labels, clusters):
        terms = [large.terms_of(labels, p) for p in probs]
        drawn = large.bootstrap_sums(terms, n_resamples, seed)
        draws = [columns_of(score_summary(sums, classes, metrics=metrics)) for sums in drawn]
        influences = [_influence_by_sums(each, classes, metrics) for each in terms]
    else:
        drawn_metrics = draw_metrics(labels, probs, classes, metrics, clusters, n_resamples, seed)
        draws, influences = map(list, zip(*drawn_metrics, strict=True))
    names = tuple(score(labels, probs[0], classes, metrics=metrics))
    alike = alike_patients(np.ones(len(labels), dtype=bool), clusters)
    quantile = Z if clusters is None else float(student_quantile(alike - 1))
    return [
        Resampled(
            names,
            value[0],
            drawn,
            influence,
            resampling_holds(labels, p, classes, metrics, clusters),
            closed_limits(labels, p, classes, metrics, share_limits, clusters),
            quantile,
        )
        for value, drawn, influence, p in zip(values, draws, influences, probs, strict=True)
    ]


def mean_of(resampled: Sequence[Resampled]) -> Resampled:
    """Average every metric over models on the same draws, such as one model over its seeds.

    The limits are MOVER's from those of each model and the correlation of each pair, 1 where that is undefined; no
    limits where one of the models has none.
    """
    means = {
        name: np.mean([getattr(each, name) for each in resampled], axis=0) for name in ("value", "draws", "influence")
    }
    low, high = (np.stack([each.interval[end] for each in resampled]) for end in (0, 1))
    r = np.stack([[a._correlation(b, undefined=1) for b in resampled] for a in resampled])
    closed = mean_limits(np.stack([each.value for each in resampled]), (low, high), r)
    return replace(resampled[0], **means, has_interval=np.zeros_like(resampled[0].has_interval), closed=closed)


def align(
    a: Predictions, b: Predictions, *, names: tuple[str, str] = ("model A", "model B"), common_only: bool = False
) -> tuple[Predictions, Predictions]:
    """Align two models' predictions of the same patients, row by row.

    Args:
        a, b: The two models' predictions.
        names: Their names in messages.
        common_only: Keep the patients that both have, instead of refusing where they differ.

    Raises:
        PredictionsError: If classes, their order, patients, labels or folds differ, or no patient is common.
    """
    if a.classes != b.classes:
        raise PredictionsError(
            f"{names[0]} and {names[1]} have other classes or another order of them: "
            f"{', '.join(a.classes)} there, {', '.join(b.classes)} here.",
            "Compare models of one cohort.",
        )
    common = sorted(set(a.patients) & set(b.patients))
    if not common or (not common_only and not len(common) == len(a.patients) == len(b.patients)):
        raise PredictionsError(
            f"{names[0]} predicts {len(a.patients)} patients and {names[1]} {len(b.patients)}; "
            f"{len(common)} are in both.",
            "Compare models of one cohort and the same folds"
            + (", or ask for the common patients only." if common else "."),
        )
    a, b = a.of(common), b.of(common)
    for what, column in (("label", LABEL), ("fold", FOLD)):
        differing = (a.table[column] != b.table[column]).to_numpy()
        if differing.any():
            row = int(np.flatnonzero(differing)[0])
            raise PredictionsError(
                f"{int(differing.sum())} of {len(common)} patients have another {what} in {names[0]} than in "
                f"{names[1]}; the first is {common[row]!r}: {a.table[column][row]} against {b.table[column][row]}.",
                "Compare models of one cohort and the same folds.",
            )
    return a, b


def _influence_by_sums(terms: large.Terms, classes: tuple[str, ...], metrics: Sequence[Metric]) -> np.ndarray:
    parts = []
    for members in strata(terms.labels, None):
        n_groups = min(len(members), JACKKNIFE_GROUPS)
        left = large.sums_without_groups(terms, members, n_groups)
        without = columns_of(score_summary(left, classes, metrics=metrics))
        parts.append((n_groups - 1) * (without.mean(axis=0) - without) / n_groups)
    return np.concatenate(parts)
