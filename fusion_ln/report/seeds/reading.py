"""The runs of an experiment, gathered by model for the comparison over its seeds."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from fusion_ln.errors import RunError
from fusion_ln.evaluation.seeds import ModelOverSeeds, SeedComparison
from fusion_ln.records import LateFusionRecord
from fusion_ln.report.run.results import N_RESAMPLES, Model, Results


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
    groups = {name: list(by_seed.values()) for name, by_seed in _group_by_model(results).items()}
    models = tuple(_over_seeds(name, runs) for name, runs in groups.items())
    comparison = SeedComparison(models, results.cohort.modalities, N_RESAMPLES)
    return SeedResults(results, comparison, {name: runs[0] for name, runs in groups.items()})


def _group_by_model(results: Results) -> dict[str, dict[str, Model]]:
    """Group the runs by their name without the seed, then by seed.

    Raises:
        RunError: If models were trained with different seeds.
    """
    groups: dict[str, dict[str, Model]] = {}
    for model in results.models:
        parts = PurePosixPath(model.name).parts
        seed = next((part for part in parts if part.startswith("seed-")), "")
        groups.setdefault("/".join(part for part in parts if part != seed), {})[seed] = model
    first, of_first = next(iter(groups.items()))
    for name, by_seed in groups.items():
        if by_seed.keys() != of_first.keys():
            raise RunError(
                f"{name}: trained with {', '.join(by_seed)}, but {first} with {', '.join(of_first)}.",
                "Train all models with the same seeds.",
            )
    return groups


def _over_seeds(name: str, models: list[Model]) -> ModelOverSeeds:
    first = models[0]
    return ModelOverSeeds(
        name=name,
        title=" · ".join([first.what, *PurePosixPath(name).parts[:-1]]),
        predictions={model.name: model.predictions for model in models},
        inner_auc=float(np.mean([model.inner_auc for model in models])),
        is_single=first.is_single,
        is_fusion=first.is_fusion,
        learnt_on_inner=isinstance(first.record, LateFusionRecord) and any(first.record.learnt or ()),
        subsets=[model.subsets for model in models],
    )
