"""Results of a report: the models of one cohort, the reference, and their statistics."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.evaluation.compare import ENDPOINT, Comparison, compare
from fusion_ln.evaluation.intervals import ALL_CLASSES, metric_intervals
from fusion_ln.evaluation.probabilities.costs import Costs
from fusion_ln.report.kit.style import OTHERS, modality_colour
from fusion_ln.report.run.model import Model
from fusion_ln.terms import NOT_MALIGNANT

N_RESAMPLES = 2000  # bootstrap draws behind every interval of a run's own report
WEAK_CLASS = "lymphoma"  # what the models of Jiang et al. 2025 miss


class Estimate(NamedTuple):
    """A metric of a model with its 95 % interval."""

    value: float
    ci_low: float
    ci_high: float


class Difference(NamedTuple):
    """A metric of a model (a) minus the reference's (b), on the patients of both, with its 95 % interval."""

    patients: int
    value_a: float
    value_b: float
    difference: float
    ci_low: float
    ci_high: float


class Test(NamedTuple):
    """A difference and the p-value of its test, not corrected."""

    difference: float
    p: float


@dataclass(frozen=True)
class Results:
    """The models of one report, fusions last, else in the order in which they were given.

    Attributes:
        cohort: The patients; without pictures and clinical columns where its folder is not at hand.
        models: At least one.
        chosen_from: Names of fusions of which the first one was chosen, by inner validation.
        named_reference: Name of the model to compare with; empty for the best single modality.
        n_resamples: Bootstrap draws behind every interval.
        prevalence: Share of each class in another population that figures are wanted for. Shape (C,).
        costs: Cost of each decision for each true class.
    """

    cohort: Cohort
    models: tuple[Model, ...]
    chosen_from: tuple[str, ...] = ()
    named_reference: str = ""
    n_resamples: int = N_RESAMPLES
    prevalence: np.ndarray | None = None
    costs: Costs | None = None

    @property
    def singles(self) -> tuple[Model, ...]:
        return tuple(m for m in self.models if m.is_single)

    @property
    def fusions(self) -> tuple[Model, ...]:
        return tuple(m for m in self.models if m.is_fusion)

    @cached_property
    def best_single(self) -> Model | None:
        """The single-modality model with the highest AUC on inner validation; the held-out folds play no part.

        None where no such AUC is known, as where the inner validation patients lack a class.
        """
        return best_within(self.singles)

    def led_by_best(self, names: Collection[str]) -> "Results":
        """Put first the fusion among ``names`` that does best on inner validation; without an AUC there, the first."""
        rivals = [m for m in self.fusions if m.name in names]
        leader = best_within(rivals) or rivals[0]
        models = sorted(self.models, key=lambda m: (m.is_fusion, m is not leader))
        return replace(self, models=tuple(models), chosen_from=tuple(names))

    @property
    def reference(self) -> Model | None:
        """The model that every other one is compared with: the named one, the best modality, or the first."""
        if self.named_reference:
            return next(m for m in self.models if m.name == self.named_reference)
        return self.best_single or next(iter(self.singles), None)

    @property
    def others(self) -> tuple[Model, ...]:
        """The models that are compared with the reference; none where there is no reference."""
        return tuple(m for m in self.models if m is not self.reference) if self.reference else ()

    @property
    def candidate(self) -> Model | None:
        """The model that the headline sets against the reference, chosen without a look at its result.

        The first fusion that was given; without one, the first other model if the reference was named.
        """
        fusions = [m for m in self.others or self.models if m.is_fusion]
        return next(iter([*fusions, *(self.others if self.named_reference else ())]), None)

    @property
    def main(self) -> Model:
        """The model that the report is about."""
        return self.candidate or self.reference or self.models[0]

    @property
    def headline(self) -> tuple[Model, ...]:
        """The reference and the candidate, as far as there are such."""
        return tuple(m for m in (self.reference, self.candidate) if m is not None) or (self.main,)

    @cached_property
    def weak_class(self) -> str:
        """The weak class: lymphoma or, in another cohort, the one that the main model misses most on inner validation.

        Without inner validation predictions the one with the fewest patients; the held-out patients have no say in it.
        """
        classes = self.cohort.classes
        if WEAK_CLASS in classes:
            return WEAK_CLASS
        known = self.main.inner
        if known is None:
            return classes[int(np.bincount(self.main.predictions.labels, minlength=len(classes)).argmin())]
        counts = np.bincount(known.labels, minlength=len(classes))
        right = known.labels[known.probs.argmax(axis=1) == known.labels]
        recalls = np.bincount(right, minlength=len(classes)) / np.maximum(counts, 1)
        return classes[int(np.where(counts > 0, recalls, np.inf).argmin())]

    @property
    def malignant(self) -> tuple[str, ...]:
        """The classes that a test for malignancy shall find; empty where no class is named benign or normal."""
        found = tuple(c for c in self.cohort.classes if c not in NOT_MALIGNANT)
        return found if len(found) < len(self.cohort.classes) else ()

    @cached_property
    def intervals(self) -> pd.DataFrame:
        """``model, metric, class, value, ci_low, ci_high, ...``: every metric, on all patients of its model."""
        tables = {m.name: metric_intervals(m.predictions, n_resamples=self.n_resamples) for m in self.models}
        return stack(tables)

    @cached_property
    def comparison(self) -> Comparison | None:
        """Every other model against the reference; None where there is nothing to compare.

        Runs of one cohort are compared on the patients whom all of them predicted: some lack a modality. That two bare
        tables belong together is not recorded anywhere, so tables of other patients are refused.
        """
        if not (self.others and self.reference):
            return None
        models = {m.name: m.predictions for m in (self.reference, *self.others)}
        return compare(
            models,
            self.reference.name,
            primary=self.candidate.name if self.candidate else None,
            asked=[m.name for m in self.fusions] or None,
            alone=[m.name for m in self.singles] if self.candidate and self.candidate.is_fusion else (),
            n_resamples=self.n_resamples,
            common_only=not any(m.is_table for m in self.models),
        )

    @cached_property
    def primary_test(self) -> Test | None:
        """The test of the primary endpoint: the headline model's macro AUC against the reference; None without one."""
        if self.comparison is None:
            return None
        rows = self.comparison.comparison
        found = rows.loc[rows["family"] == ENDPOINT, ["difference", "p"]].to_numpy(dtype=float)
        return Test(*found[0]) if len(found) else None

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Each other model minus the reference: ``model, reference, patients, metric, class, value_a, ...``."""
        if self.comparison is None:
            return pd.DataFrame()
        table = self.comparison.differences.rename(columns={"model_a": "model", "model_b": "reference"})
        table.insert(2, "patients", self.compared_patients)
        return table

    @property
    def compared_patients(self) -> int:
        """Patients whom every model predicted."""
        return len(set.intersection(*(set(m.predictions.patients) for m in self.models)))

    def colour_of(self, model: Model) -> str:
        """Name a model's colour in `style.COLOURS`, the same in every figure."""
        if model.is_fusion:
            return "fusion"
        if model.is_clinical or not model.modalities:
            return OTHERS[self.models.index(model) % len(OTHERS)]
        return modality_colour(model.modalities[0], self.cohort.modalities)

    def interval(self, model: Model, metric: str, of_class: str = ALL_CLASSES) -> Estimate:
        """Look up the row of ``intervals`` of a model's metric."""
        return self._interval_rows[model.name, metric, of_class]

    def difference(self, model: Model, metric: str, of_class: str = ALL_CLASSES) -> Difference:
        """Look up the row of ``differences`` of a model's metric."""
        return self._difference_rows[model.name, metric, of_class]

    @cached_property
    def _interval_rows(self) -> dict[tuple[str, str, str], Estimate]:
        rows = self.intervals[["model", "metric", "class", *Estimate._fields]].itertuples(index=False, name=None)
        return {(model, metric, of_class): Estimate(*values) for model, metric, of_class, *values in rows}

    @cached_property
    def _difference_rows(self) -> dict[tuple[str, str, str], Difference]:
        rows = self.differences[["model", "metric", "class", *Difference._fields]].itertuples(index=False, name=None)
        return {(model, metric, of_class): Difference(*values) for model, metric, of_class, *values in rows}

    def attainable(self, model: Model) -> dict[str, float] | None:
        """Look up the best macro AUC that any model could reach from these modalities' pictures; phantom cohorts only.

        Returns:
            ``tables``: over the simulation's own distribution; ``cohort``: over the patients of this cohort.
        """
        if model.is_clinical:
            return None
        found = self.cohort.details.attainable
        key = "+".join(model.modalities)
        figures = {"tables": found.tables, "cohort": found.cohort}
        return {of: by_subset[key]["auc"] for of, by_subset in figures.items() if key in by_subset} or None


def stack(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Stack tables of several models, the model in the first column."""
    return pd.concat(tables, names=["model"]).reset_index(level="model").reset_index(drop=True)


def columns_first(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Move columns to the left of a table."""
    return table[[*columns, *table.columns.drop(list(columns))]]


def best_within(models: Iterable[Model]) -> Model | None:
    """Choose the model with the highest AUC on inner validation; None where no such AUC is known."""
    known = [m for m in models if not np.isnan(m.inner_auc)]  # NaN never wins a maximum
    return max(known, key=lambda m: m.inner_auc, default=None)
