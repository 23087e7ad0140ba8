"""Subgroup analysis: metrics by site, sex and age band, and their spread."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import chi2, chi2_contingency

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.intervals import Resampled, name_columns, resample
from fusion_ln.evaluation.limits.auc import aucs
from fusion_ln.metrics import PRIMARY
from fusion_ln.predictions import Predictions

UNKNOWN = "unknown"
AGE_BANDS = {"under 40": 40, "40 to 59": 60, "60 and over": np.inf}  # first age beyond the band, in years
NEEDS = 10  # patients of each class, for an interval
METRIC_COLUMNS = ["level", "metric", "class", "value", "ci_low", "ci_high"]
SPREAD_COLUMNS = ["metric", "class", "lowest", "lowest_level", "highest", "highest_level", "range", "q", "p"]


@dataclass(frozen=True)
class Subgroups:
    """Metrics of a model by the levels of one variable.

    Attributes:
        counts: One row per level: ``level, n, <class>..., scored``; a level with fewer than 2 patients of some class
            is counted but not scored.
        metrics: ``level, metric, class, value, ci_low, ci_high`` of the scored levels; no interval where a class has
            fewer than `NEEDS` patients there.
        spread: ``metric, class, lowest, lowest_level, highest, highest_level, range, q, p``: how far the levels with
            intervals lie apart, and the test that they do so by chance: Cochran's Q of the macro AUC, where every level
            misplaces enough patients, and Pearson's chi-square of the accuracy. Of other metrics, and of AUCs near 1,
            no test of ours keeps its level (Q of small levels rejected in up to 0.23 of simulations). Empty with fewer
            than two such levels.
    """

    counts: pd.DataFrame
    metrics: pd.DataFrame
    spread: pd.DataFrame


def subgroups(predictions: Predictions, levels: pd.Series, *, n_resamples: int = 2000, seed: int = 0) -> Subgroups:
    """Score each level of a variable on its own, with 95 % intervals.

    Args:
        predictions: Out-of-fold predictions.
        levels: The variable, indexed by patient; a missing value is the level `UNKNOWN`.
        n_resamples, seed: Of the bootstrap.

    Raises:
        PredictionsError: If a predicted patient is not in ``levels``.
    """
    if missing := set(predictions.patients) - set(levels.index):
        raise PredictionsError(
            f"{len(missing)} predicted patients have no row in the cohort's patients, such as {min(missing)!r}.",
            "Give the cohort that the models were trained on.",
        )
    of_patient = levels.loc[predictions.patients]
    counts, metrics, scored = [], [], {}
    for level, members in _by_level(of_patient).items():
        part = predictions.of(members)
        sizes = np.bincount(part.labels, minlength=len(part.classes)).tolist()
        by_class = dict(zip(part.classes, sizes, strict=True))
        counts.append({"level": level, "n": len(part.labels), **by_class, "scored": min(sizes) >= 2})
        if min(sizes) >= 2:
            resampled = resample([part], n_resamples=n_resamples, seed=seed)[0]
            table = resampled.table().assign(level=level)[METRIC_COLUMNS]
            if min(sizes) >= NEEDS:
                scored[level] = part, resampled
            else:
                table[["ci_low", "ci_high"]] = np.nan
            metrics.append(table)
    return Subgroups(
        pd.DataFrame(counts),
        pd.concat(metrics, ignore_index=True) if metrics else pd.DataFrame(columns=METRIC_COLUMNS),
        _spread(scored),
    )


def age_bands(ages: pd.Series) -> pd.Series:
    """Assign each age in years its band of `AGE_BANDS`, in their order; missing ages stay missing."""
    return pd.cut(ages, [-np.inf, *AGE_BANDS.values()], right=False, labels=list(AGE_BANDS))


def _by_level(of_patient: pd.Series) -> dict[str, list[str]]:
    """Group the patients by level, levels in their own order (bands) or sorted, the unknown last."""
    known = of_patient.dropna()
    ordered = known.cat.categories if isinstance(known.dtype, pd.CategoricalDtype) else sorted(known.unique())
    groups = {str(level): known.index[known == level].tolist() for level in ordered}
    groups[UNKNOWN] = [*groups.get(UNKNOWN, []), *of_patient.index[of_patient.isna()]]
    return {level: members for level, members in groups.items() if members}


def _spread(scored: dict[str, tuple[Predictions, Resampled]]) -> pd.DataFrame:
    """Build `Subgroups.spread`."""
    if len(scored) < 2:
        return pd.DataFrame(columns=SPREAD_COLUMNS)
    names, parts = list(scored), [part for part, _ in scored.values()]
    values = np.stack([resampled.value for _, resampled in scored.values()])  # (levels, M)
    table = name_columns(scored[names[0]][1].names)
    for end, places in (("lowest", values.argmin(axis=0)), ("highest", values.argmax(axis=0))):
        table[end] = values[places, np.arange(values.shape[1])]
        table[f"{end}_level"] = [names[place] for place in places]
    table["range"] = table["highest"] - table["lowest"]
    tests = {PRIMARY: _auc_homogeneity(parts), "accuracy": _accuracy_homogeneity(parts)}
    found = [tests.get(metric, (None, None)) for metric in table["metric"]]
    table["q"], table["p"] = (pd.Series(column, dtype=object) for column in zip(*found, strict=True))
    return table[SPREAD_COLUMNS]


def _auc_homogeneity(parts: list[Predictions]) -> tuple[float | None, float | None]:
    """Compute Cochran's Q of the macro AUC and its p-value (Cochran 1954); None where a level misplaces too few."""
    found = [aucs(part.labels, part.probs) for part in parts]
    if any(each.few for each in found):
        return None, None
    values, variances = (
        np.array([float(each.macro) for each in found]),
        np.array([float(each.macro_covariance(each)) for each in found]),
    )
    mean = np.average(values, weights=1 / variances)
    q = float((np.square(values - mean) / variances).sum())
    return q, float(chi2.sf(q, len(parts) - 1))


def _accuracy_homogeneity(parts: list[Predictions]) -> tuple[float | None, float | None]:
    """Compute Pearson's chi-square of right and wrong predictions by level; None where all are right, or all wrong."""
    right = [int((part.probs.argmax(axis=1) == part.labels).sum()) for part in parts]
    counts = np.array([right, [len(part.labels) - hits for hits, part in zip(right, parts, strict=True)]])
    if not counts.sum(axis=1).all():
        return None, None
    test = chi2_contingency(counts, correction=False)
    return float(test.statistic), float(test.pvalue)
