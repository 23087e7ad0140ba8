"""The runs of an experiment, gathered by model for the comparison over its seeds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from fusion_ln.errors import RunError
from fusion_ln.evaluation.seeds import ModelOverSeeds, SeedComparison
from fusion_ln.records.kinds import LateFusionRecord, TableRecord
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import N_RESAMPLES, Results
from fusion_ln.runs import RunKey


@dataclass(frozen=True)
class SeedResults:
    """The runs of an experiment, and their comparison over the seeds.

    Attributes:
        results: All runs.
        comparison: Models over the seeds.
        first_runs: The first seed's run of each model, by the model's name.
    """

    results: Results
    comparison: SeedComparison
    first_runs: dict[str, Model]

    def colour(self, model: ModelOverSeeds) -> str:
        """Name the colour of a model, the same as on the page of every run."""
        return self.results.colour_of(self.first_runs[model.name])

    def attainable(self, model: ModelOverSeeds) -> float | None:
        """Return the best AUC that the pictures of a model allow in this cohort; None where it is unknown."""
        found = self.results.attainable(self.first_runs[model.name])
        return found.get("cohort") if found else None


def compare_seeds(results: Results) -> SeedResults:
    """Compare the models of an experiment over its seeds.

    Raises:
        RunError: If models were trained with different seeds.
    """
    groups = {key.name: list(by_seed.values()) for key, by_seed in _group_by_model(results).items()}
    models = tuple(over_seeds(name, {run.name: run for run in runs}) for name, runs in groups.items())
    comparison = SeedComparison(models, results.cohort.modalities, N_RESAMPLES)
    return SeedResults(results, comparison, {name: runs[0] for name, runs in groups.items()})


def _group_by_model(results: Results) -> dict[RunKey, dict[int, Model]]:
    """Group the runs by their key, with seed 0 in place of each seed, then by seed.

    Raises:
        RunError: If models were trained with different seeds.
    """
    groups: dict[RunKey, dict[int, Model]] = {}
    for model in results.models:
        key = _key_of(model)
        groups.setdefault(replace(key, seed=0), {})[key.seed] = model
    first, of_first = next(iter(groups.items()))
    for key, by_seed in groups.items():
        if by_seed.keys() != of_first.keys():
            raise RunError(
                f"{key.name}: trained with {_name_seeds(by_seed)}, but {first.name} with {_name_seeds(of_first)}.",
                "Train all models with the same seeds.",
            )
    return groups


def _key_of(model: Model) -> RunKey:
    """Build the key of a run; its name is the path below the common folder without the level of the seed."""
    assert not isinstance(model.record, TableRecord), "an experiment has no bare tables"
    key = RunKey.of_record(model.record, model.name)
    return replace(key, name="/".join(part for part in PurePosixPath(model.name).parts if part != key.seed_folder))


def _name_seeds(seeds: Iterable[int]) -> str:
    return "seeds " + ", ".join(map(str, seeds))


def over_seeds(name: str, models: Mapping[str, Model]) -> ModelOverSeeds:
    """Join the runs of one model, by the name of each; ``name`` is theirs without the seed."""
    first = next(iter(models.values()))
    return ModelOverSeeds(
        name=name,
        title=" · ".join([first.what, *PurePosixPath(name).parts[:-1]]),
        predictions={run: model.predictions for run, model in models.items()},
        inner_auc=float(np.mean([model.inner_auc for model in models.values()])),
        is_single=first.is_single,
        is_fusion=first.is_fusion,
        learnt_on_inner=isinstance(first.record, LateFusionRecord) and any(first.record.learnt or ()),
        subsets=[model.subsets for model in models.values()],
    )
