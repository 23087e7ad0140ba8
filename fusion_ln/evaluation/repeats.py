"""Repeated cross-validation: folds and seeds drawn anew, and intervals for the procedure instead of its trainings.

A patient bootstrap takes the trained networks as given: it says what other patients would change, not what other
training patients and another seed would. The corrected resampled t looks at the differences of single folds, whose
spread holds all three; its variance is widened, since the training parts overlap (Nadeau & Bengio 2003, Mach. Learn.
52, eq. 9). Its coverage was simulated: ``experiments/evidence/repeats_coverage.py``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.stats import t as student

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.compare import align_all
from fusion_ln.evaluation.folds import score_folds
from fusion_ln.evaluation.intervals import name_columns, split_name
from fusion_ln.evaluation.limits.clusters import count_patients
from fusion_ln.evaluation.limits.shares import LEVEL
from fusion_ln.evaluation.seeds import ModelOverSeeds, SeedComparison
from fusion_ln.metrics import PRIMARY
from fusion_ln.predictions import Predictions
from fusion_ln.terms import FOLD

REPEATED = (PRIMARY, "auc")  # the metrics whose interval's coverage was simulated
LEAST_OF_CLASS = 5  # held-out patients of each class in each fold, for an interval
PROCEDURE = "the procedure at this training size"  # what the corrected resampled t is an interval of
GIVEN = "given these trainings"  # of an interval with one seed and one draw of the folds: only patients vary


@dataclass(frozen=True)
class CorrectedT:
    """Corrected resampled t of values of single folds: their mean, its 95 % interval, and the p-value of 0.

    Arrays of the shape that is left of the values without repeats and folds.
    """

    value: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray
    p: np.ndarray


def corrected_t(values: np.ndarray) -> CorrectedT:
    """Compute the corrected resampled t (Nadeau & Bengio 2003, eq. 9; Bouckaert & Frank 2004 for k x R folds).

    The variance of the mean is (1 / (k R) + 1 / (k - 1)) times that of the values: 1 / (k - 1) is the size of a
    held-out part over that of its training part. k R - 1 degrees of freedom.

    Args:
        values: A value, or a difference, of each held-out fold. Shape (..., R, k).
    """
    repeats, k = values.shape[-2:]
    mean, variance = values.mean(axis=(-2, -1)), values.var(axis=(-2, -1), ddof=1)
    error = np.sqrt(variance * (1 / (k * repeats) + 1 / (k - 1)))
    freedom = k * repeats - 1
    half = student.ppf((1 + LEVEL) / 2, freedom) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * student.sf(np.abs(mean) / error, freedom)
    return CorrectedT(mean, mean - half, mean + half, np.where(error > 0, p, np.where(mean == 0, 1.0, 0.0)))


@dataclass(frozen=True)
class RepeatComparison:
    """Models over repeats with folds and seeds of their own.

    Attributes:
        models: With their predictions of each repeat, in the same order of repeats.
        modalities: Of the cohort, in its order.
        n_resamples: Bootstrap draws behind every interval that takes the trainings as given.
    """

    models: tuple[ModelOverSeeds, ...]
    modalities: tuple[str, ...]
    n_resamples: int = 2000

    @property
    def n_repeats(self) -> int:
        return len(self.models[0].predictions)

    @cached_property
    def given(self) -> SeedComparison:
        """The comparison that takes the trainings as given: the patients resampled, the mean over the repeats."""
        pooled = [replace(model, predictions=_without_folds(model.predictions)) for model in self.models]
        return SeedComparison(tuple(pooled), self.modalities, self.n_resamples)

    @property
    def references(self) -> dict[str, ModelOverSeeds]:
        """The models to compare with; see `SeedComparison.references`."""
        return self.given.references

    @cached_property
    def folds(self) -> pd.DataFrame:
        """AUCs of every fold, on the patients of all models: ``model, repeat, fold``, and the `REPEATED` metrics.

        Raises:
            PredictionsError: If two models of a repeat have other folds, or repeats have other numbers of folds.
        """
        parts = []
        for repeat, aligned in enumerate(self._by_repeat):
            for name, predictions in aligned.items():
                scores = pd.DataFrame.from_dict(score_folds(predictions), orient="index").rename_axis(FOLD)
                kept = scores[[column for column in scores if split_name(str(column))[0] in REPEATED]]
                parts.append(kept.reset_index().assign(model=name, repeat=repeat))
        counts = sorted({len(part) for part in parts})
        if len(counts) > 1:
            raise PredictionsError(
                f"the repeats have {counts[0]} to {counts[-1]} folds.", "Draw the same number of folds for all."
            )
        table = pd.concat(parts, ignore_index=True)
        first = ["model", "repeat", FOLD]
        return table[[*first, *table.columns.drop(first)]]

    @cached_property
    def fewest(self) -> tuple[str, int]:
        """The class of which some fold has the fewest held-out patients, and their number."""
        least = ("", -1)
        for aligned in self._by_repeat:
            held = next(iter(aligned.values()))
            for _, rows in held.table.groupby(FOLD):
                part = Predictions(held.classes, rows)
                of_classes = part.labels == np.arange(len(held.classes))[:, None]
                counts = count_patients(of_classes, part.clusters)
                if least[1] < 0 or counts.min() < least[1]:
                    least = (held.classes[int(counts.argmin())], int(counts.min()))
        return least

    @property
    def has_intervals(self) -> bool:
        """True where every fold holds out `LEAST_OF_CLASS` patients of every class: fewer tell too little."""
        return self.fewest[1] >= LEAST_OF_CLASS

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Means over the folds of all repeats: ``model, title, metric, class, value, ci_low, ci_high, by_repeat``.

        The AUC of a single class has no interval: with 240 patients it held the true value in 0.92 of simulations.
        """
        table = pd.concat([self._table(model, self._values(model)) for model in self.models], ignore_index=True)
        kept = table["metric"] == PRIMARY
        low, high = table["ci_low"].where(kept).clip(lower=0), table["ci_high"].where(kept).clip(upper=1)
        return table.assign(ci_low=low, ci_high=high)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Each model minus each reference: the columns of ``metrics``, ``reference, p, p_holm, given_low, given_high``.

        ``ci_low``, ``ci_high`` and ``p`` are of `PROCEDURE`, ``given_low`` and ``given_high`` of `GIVEN`; ``family``
        and ``p_holm`` are those of `SeedComparison.with_families`. Empty where there is nothing to compare.
        """
        tables = []
        for heading, reference in self.references.items():
            for model in (m for m in self.models if m.name != reference.name):
                table = self._table(model, self._values(model) - self._values(reference), with_p=True)
                tables.append(table.assign(reference=heading))
        if not tables:
            return pd.DataFrame()
        every = self.given.with_families(pd.concat(tables, ignore_index=True))
        keys = ["model", "reference", "metric", "class"]
        given = self.given.differences[[*keys, "difference", "ci_low", "ci_high"]].rename(
            columns={"difference": "given_difference", "ci_low": "given_low", "ci_high": "given_high"}
        )
        return every.rename(columns={"value": "difference"}).merge(given, on=keys, validate="1:1")

    @cached_property
    def _by_repeat(self) -> list[dict[str, Predictions]]:
        """Every model's predictions of each repeat, on the patients whom all models predicted in it."""
        runs = [list(model.predictions.values()) for model in self.models]
        names = [model.name for model in self.models]
        return [
            align_all(dict(zip(names, of, strict=True)), names[0], common_only=True) for of in zip(*runs, strict=True)
        ]

    def _values(self, model: ModelOverSeeds) -> np.ndarray:
        """Return every metric of every fold. Shape (metrics, R, k)."""
        rows = self.folds[self.folds["model"] == model.name].drop(columns=["model", "repeat", FOLD])
        return rows.to_numpy(dtype=np.float64).T.reshape(rows.shape[1], self.n_repeats, -1)

    def _table(self, model: ModelOverSeeds, values: np.ndarray, *, with_p: bool = False) -> pd.DataFrame:
        found = corrected_t(values)
        ends = {"ci_low": found.ci_low, "ci_high": found.ci_high} | ({"p": found.p} if with_p else {})
        table = name_columns(tuple(self.folds.columns[3:]))
        table.insert(0, "model", model.name)
        table.insert(1, "title", model.title)
        table = table.assign(value=found.value, **ends, by_repeat=list(values.mean(axis=2)))
        if not self.has_intervals:
            table[list(ends)] = np.nan
        return table


def compare_repeats(models: Sequence[ModelOverSeeds], modalities: tuple[str, ...]) -> RepeatComparison:
    """Compare models over repeats.

    Raises:
        PredictionsError: If there are fewer than two repeats, or a fold's part does not fit another model's.
    """
    comparison = RepeatComparison(tuple(models), modalities)
    if comparison.n_repeats < 2:
        raise PredictionsError("one repeat; its intervals need two at least.", "Give `--repeats 2` or more.")
    return comparison


def _without_folds(by_run: Mapping[str, Predictions]) -> dict[str, Predictions]:
    """Give all runs one fold: pooled figures do not know folds, and those of repeats differ."""
    return {name: Predictions(held.classes, held.table.assign(**{FOLD: 0})) for name, held in by_run.items()}
