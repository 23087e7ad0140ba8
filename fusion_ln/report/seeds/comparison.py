"""What holds over the seeds of an experiment: every model's mean over them, beside what fusing has to beat."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from fusion_ln.errors import RunError
from fusion_ln.evaluation.compare import align_all
from fusion_ln.evaluation.intervals import ALL_CLASSES, Resampled, difference_table, mean_of, resample
from fusion_ln.evaluation.significance import holm
from fusion_ln.metrics import PRIMARY, score
from fusion_ln.records import LateFusionRecord
from fusion_ln.report.run.results import N_RESAMPLES, Model, Results, rows_by
from fusion_ln.terms import subsets

LATE = "fusion-late-mean"  # what a fusion that learns has to beat, besides the best single modality


@dataclass(frozen=True, eq=False)
class ModelOverSeeds:
    """One way to predict, trained with every seed.

    Attributes:
        name: Of its runs, without the seed.
        models: One per seed.
    """

    name: str
    models: tuple[Model, ...]

    @property
    def title(self) -> str:
        return " · ".join([self.models[0].what, *PurePosixPath(self.name).parts[:-1]])

    @property
    def inner_auc(self) -> float:
        """Mean over the seeds of the AUC on inner validation: what a choice between rungs may look at."""
        return float(np.mean([model.inner_auc for model in self.models]))


@dataclass(frozen=True)
class SeedComparison:
    """The rungs of an experiment, on the patients whom every model predicted.

    Attributes:
        results: All runs.
        rungs: At least one of a single modality and one fusion.
    """

    results: Results
    rungs: tuple[ModelOverSeeds, ...]

    @property
    def seeds(self) -> int:
        return len(self.rungs[0].models)

    @cached_property
    def references(self) -> dict[str, ModelOverSeeds]:
        """What the others are compared with: the best single modality on inner validation and, if it is there, `LATE`.

        The held-out folds have no say in it.
        """
        best = max((rung for rung in self.rungs if rung.models[0].is_single), key=_inner_auc)
        late = next((rung for rung in self.rungs if rung.name == LATE), None)
        return {"best single modality": best} | ({"mean of probabilities": late} if late else {})

    @cached_property
    def candidate(self) -> ModelOverSeeds:
        """The fusion that is best on inner validation, of those that learnt no weights there."""
        fusions = [rung for rung in self.rungs if rung.models[0].is_fusion]
        return max((r for r in fusions if not _learnt_on_inner(r)), key=_inner_auc, default=fusions[0])

    @cached_property
    def resampled(self) -> dict[str, list[Resampled]]:
        """Every rung's models, by seed, all on the same draws."""
        every = {model.name: model.predictions for rung in self.rungs for model in rung.models}
        aligned = align_all(every, next(iter(every)), common_only=True)
        drawn = dict(zip(aligned, resample(list(aligned.values()), n_resamples=N_RESAMPLES, seed=0), strict=True))
        return {rung.name: [drawn[model.name] for model in rung.models] for rung in self.rungs}

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Means over the seeds: ``model, title, metric, class, value, ci_low, ci_high, by_seed``."""
        tables = []
        for rung in self.rungs:
            drawn = self.resampled[rung.name]
            table = mean_of(drawn).table()[["metric", "class", "value", "ci_low", "ci_high"]]
            table.insert(0, "model", rung.name)
            table.insert(1, "title", rung.title)
            tables.append(table.assign(by_seed=list(np.stack([each.value for each in drawn], 1))))
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """As ``metrics``, each rung minus each reference: ``reference, difference, bootstrap_p, p_holm`` besides.

        ``p_holm`` corrects the p-values of the macro AUC over all rungs, for each reference.
        """
        tables = []
        for what, reference in self.references.items():
            base = self.resampled[reference.name]
            for rung in self.rungs:
                if rung is reference:
                    continue
                drawn = self.resampled[rung.name]
                table = difference_table(mean_of(drawn), mean_of(base)).drop(columns=["bca_low", "bca_high"])
                by_seed = np.stack([a.minus(b).value for a, b in zip(drawn, base, strict=True)], 1)
                named = {"model": rung.name, "title": rung.title, "reference": what}
                tables.append(table.assign(**named, by_seed=list(by_seed)))
        every = pd.concat(tables, ignore_index=True)
        families = every[every["metric"] == PRIMARY].groupby("reference", sort=False)["bootstrap_p"]
        every["p_holm"] = families.transform(lambda p: holm(p.to_numpy()))
        first = ["model", "title", "reference", "metric", "class"]
        return every[[*first, *every.columns.drop(first)]]

    @cached_property
    def subsets(self) -> pd.DataFrame:
        """Mean AUC over the seeds from each subset of the modalities: a row per rung that answers for all of them."""
        rows = {}
        for rung in self.rungs:
            if rung.models[0].subsets:
                aucs = [{name: _auc(model, name) for name in model.subsets} for model in rung.models]
                rows[rung.title] = pd.DataFrame(aucs).mean()
        return pd.DataFrame(rows).T.reindex(columns=list(subsets(self.results.cohort.modalities))).dropna(axis=1)

    def value(self, rung: ModelOverSeeds, metric: str, of_class: str = ALL_CLASSES) -> Any:
        """The row of ``metrics`` of a rung."""
        return self._values[rung.name, metric, of_class]

    def difference(self, rung: ModelOverSeeds, reference: str, metric: str, of_class: str = ALL_CLASSES) -> Any:
        """The row of ``differences`` of a rung and one of the ``references``; None for the reference itself."""
        return self._differences.get((rung.name, reference, metric, of_class))

    @cached_property
    def _values(self) -> dict[tuple[str, ...], Any]:
        return rows_by(self.metrics, "model", "metric", "class")

    @cached_property
    def _differences(self) -> dict[tuple[str, ...], Any]:
        return rows_by(self.differences, "model", "reference", "metric", "class")

    def attainable(self, rung: ModelOverSeeds) -> float | None:
        """The best AUC that the pictures of a rung allow in this cohort; None where that is not known."""
        found = self.results.attainable(rung.models[0])
        return found.get("cohort") if found else None


def build_ladder(results: Results) -> SeedComparison:
    """Gather the runs of each model over its seeds.

    Raises:
        RunError: If models were trained with different seeds.
    """
    found: dict[str, dict[str, Model]] = {}
    for model in results.models:
        parts = PurePosixPath(model.name).parts
        seed = next((part for part in parts if part.startswith("seed-")), "")
        found.setdefault("/".join(part for part in parts if part != seed), {})[seed] = model
    first, of_first = next(iter(found.items()))
    for name, by_seed in found.items():
        if by_seed.keys() != of_first.keys():
            raise RunError(
                f"{name}: trained with {', '.join(by_seed)}, but {first} with {', '.join(of_first)}.",
                "Train all models with the same seeds.",
            )
    rungs = tuple(ModelOverSeeds(name, tuple(by_seed.values())) for name, by_seed in found.items())
    return SeedComparison(results, rungs)


def _learnt_on_inner(rung: ModelOverSeeds) -> bool:
    record = rung.models[0].record
    return isinstance(record, LateFusionRecord) and any(record.learnt or ())


def _inner_auc(rung: ModelOverSeeds) -> float:
    return rung.inner_auc


def _auc(model: Model, subset: str) -> float:
    said = model.subsets[subset]
    return float(score(said.labels, said.probs, said.classes)[PRIMARY][0])
