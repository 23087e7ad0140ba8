"""Comparison over the seeds of an experiment: every model's mean, and its differences to what a fusion has to beat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from fusion_ln.evaluation.compare import ENDPOINT, SECONDARY, align_all
from fusion_ln.evaluation.intervals import ALL_CLASSES, Resampled, difference_table, mean_of, resample
from fusion_ln.evaluation.limits.shares import wilson_of_few
from fusion_ln.evaluation.significance import holm
from fusion_ln.evaluation.swaps import swap_test
from fusion_ln.metrics import PRIMARY, score
from fusion_ln.predictions import Predictions
from fusion_ln.terms import subsets

PLAIN_FUSION = "fusion-late-mean"  # a fusion that learns has to beat it, besides the best single modality
BEST_SINGLE, PLAIN = "best single modality", "mean of probabilities"  # the references


@dataclass(frozen=True, eq=False)
class ModelOverSeeds:
    """One way to predict, trained with every seed.

    Attributes:
        name: Name of its runs, without the seed.
        title: Its name on a page.
        predictions: Out-of-fold predictions by run, one run per seed.
        inner_auc: Mean over the seeds of the AUC on inner validation: a choice between models may look at it.
        is_single, is_fusion: It reads one modality; it fuses several.
        learnt_on_inner: It learnt weights from inner validation, so its AUC there says nothing.
        subsets: Predictions from each subset of the modalities, by subset, one mapping per seed; empty without any.
    """

    name: str
    title: str
    predictions: Mapping[str, Predictions]
    inner_auc: float
    is_single: bool = False
    is_fusion: bool = False
    learnt_on_inner: bool = False
    subsets: Sequence[Mapping[str, Predictions]] = field(default_factory=tuple)


@dataclass(frozen=True)
class MeanOverSeeds:
    """Mean of a metric over the seeds with its 95 % interval, and the value of each seed."""

    value: float
    ci_low: float
    ci_high: float
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class DifferenceOverSeeds:
    """Difference of two means over the seeds with its 95 % interval, and the difference of each seed.

    Attributes:
        p, family, p_holm: See `SeedComparison.differences`.
    """

    difference: float
    ci_low: float
    ci_high: float
    p: float
    family: str | None
    p_holm: float
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class SeedComparison:
    """The models of an experiment over its seeds, on the patients whom every model predicted.

    Attributes:
        models: At least one of a single modality and one fusion; all with the same seeds.
        modalities: Of the cohort, in its order.
        n_resamples: Bootstrap draws behind every interval.
    """

    models: tuple[ModelOverSeeds, ...]
    modalities: tuple[str, ...]
    n_resamples: int = 2000

    @property
    def n_seeds(self) -> int:
        return len(self.models[0].predictions)

    @cached_property
    def references(self) -> dict[str, ModelOverSeeds]:
        """The models to compare with: the best single modality on inner validation and `PLAIN_FUSION`, if present.

        The held-out folds have no say in it.
        """
        best = max((model for model in self.models if model.is_single), key=_inner_auc)
        plain = next((model for model in self.models if model.name == PLAIN_FUSION), None)
        return {BEST_SINGLE: best} | ({PLAIN: plain} if plain else {})

    @cached_property
    def candidate(self) -> ModelOverSeeds:
        """The fusion, or else the model, that is best on inner validation, of those that learnt no weights there."""
        fusions = [model for model in self.models if model.is_fusion] or list(self.models)
        return max((m for m in fusions if not m.learnt_on_inner), key=_inner_auc, default=fusions[0])

    @cached_property
    def aligned(self) -> dict[str, list[Predictions]]:
        """Every model's predictions of the patients whom all models predicted, by seed."""
        every = {name: held for model in self.models for name, held in model.predictions.items()}
        aligned = align_all(every, next(iter(every)), common_only=True)
        return {model.name: [aligned[name] for name in model.predictions] for model in self.models}

    @cached_property
    def resampled(self) -> dict[str, list[Resampled]]:
        """Every model's resamples, by seed, all on the same draws."""
        every = [held for of_model in self.aligned.values() for held in of_model]
        drawn = iter(resample(every, n_resamples=self.n_resamples, seed=0, share_limits=wilson_of_few))
        return {name: [next(drawn) for _ in of_model] for name, of_model in self.aligned.items()}

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Means over the seeds: ``model, title, metric, class, value, ci_low, ci_high, by_seed``."""
        tables = []
        for model in self.models:
            drawn = self.resampled[model.name]
            table = mean_of(drawn).table()[["metric", "class", "value", "ci_low", "ci_high"]]
            table.insert(0, "model", model.name)
            table.insert(1, "title", model.title)
            tables.append(table.assign(by_seed=list(np.stack([each.value for each in drawn], 1))))
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Each model minus each reference: the columns of ``metrics``, ``reference, difference, bootstrap_p, p``.

        ``p`` is that of `swap_test`, of the primary metric alone; ``family`` and ``p_holm`` are of `with_families`.
        """
        tables = []
        for heading, reference in self.references.items():
            base = self.resampled[reference.name]
            for model in self.models:
                if model is reference:
                    continue
                drawn = self.resampled[model.name]
                table = difference_table(mean_of(drawn), mean_of(base))
                by_seed = np.stack([a.minus(b).value for a, b in zip(drawn, base, strict=True)], 1)
                named = {"model": model.name, "title": model.title, "reference": heading}
                p = swap_test(self.aligned[model.name], self.aligned[reference.name])[-1]
                table["p"] = np.where(table["metric"] == PRIMARY, p, np.nan)
                tables.append(table.assign(**named, by_seed=list(by_seed)))
        every = self.with_families(pd.concat(tables, ignore_index=True))
        first = ["model", "title", "reference", "metric", "class"]
        return every[[*first, *every.columns.drop(first)]]

    def with_families(self, table: pd.DataFrame) -> pd.DataFrame:
        """Add ``family`` and ``p_holm`` to a table of differences in all metrics.

        The primary endpoint is the macro AUC of the `candidate` against the best single modality, not corrected; Holm
        corrects over the other comparisons of fusions, with either reference. Other rows answer no question.
        """
        fusions = [model.name for model in self.models if model.is_fusion]
        asked = (table["metric"] == PRIMARY) & (table["model"].isin(fusions) if fusions else True)
        first = asked & (table["reference"] == BEST_SINGLE) & (table["model"] == self.candidate.name) & bool(fusions)
        table = table.assign(family=None, p_holm=np.nan)
        table.loc[first, "family"], table.loc[asked & ~first, "family"] = ENDPOINT, SECONDARY
        p_values = table.loc[asked & ~first, "p"].to_numpy(dtype=np.float64)
        if len(p_values) and not np.isnan(p_values).any():
            table.loc[asked & ~first, "p_holm"] = holm(p_values)
        return table

    @cached_property
    def subsets(self) -> pd.DataFrame:
        """Mean AUC over the seeds from each subset of the modalities: a row per model that answers for all of them."""
        rows = {}
        for model in self.models:
            if model.subsets and model.subsets[0]:
                aucs = [{name: _auc(held) for name, held in of_seed.items()} for of_seed in model.subsets]
                rows[model.title] = pd.DataFrame(aucs).mean()
        return pd.DataFrame(rows).T.reindex(columns=list(subsets(self.modalities))).dropna(axis=1)

    def value(self, model: ModelOverSeeds, metric: str, of_class: str = ALL_CLASSES) -> MeanOverSeeds:
        """Return the mean of a metric of a model."""
        return self._values[model.name, metric, of_class]

    def difference(
        self, model: ModelOverSeeds, reference: str, metric: str, of_class: str = ALL_CLASSES
    ) -> DifferenceOverSeeds | None:
        """Return the difference of a model to one of the ``references``; None for the reference itself."""
        return self._differences.get((model.name, reference, metric, of_class))

    @cached_property
    def _values(self) -> dict[tuple[str, str, str], MeanOverSeeds]:
        columns = ["model", "metric", "class", "value", "ci_low", "ci_high", "by_seed"]
        return {
            (model, metric, of_class): MeanOverSeeds(value, low, high, tuple(by_seed))
            for model, metric, of_class, value, low, high, by_seed in self.metrics[columns].itertuples(index=False)
        }

    @cached_property
    def _differences(self) -> dict[tuple[str, str, str, str], DifferenceOverSeeds]:
        figures = ["difference", "ci_low", "ci_high", "p", "family", "p_holm"]
        keys = self.differences[["model", "reference", "metric", "class"]].itertuples(index=False, name=None)
        rows = self.differences[figures].assign(by_seed=self.differences["by_seed"].map(tuple))
        return {
            key: DifferenceOverSeeds(*found)
            for key, found in zip(keys, rows.itertuples(index=False, name=None), strict=True)
        }


def _inner_auc(model: ModelOverSeeds) -> float:
    return -np.inf if np.isnan(model.inner_auc) else model.inner_auc  # NaN never wins


def _auc(predictions: Predictions) -> float:
    return float(score(predictions.labels, predictions.probs, predictions.classes)[PRIMARY][0])
