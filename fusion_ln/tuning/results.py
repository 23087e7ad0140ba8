"""Results of a study, read from its trials; imports no torch, so that a report may read them."""

from typing import Literal

import numpy as np
from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict

from fusion_ln.errors import StudyError
from fusion_ln.records import CohortSummary

IDENTITY = "fusion_ln"  # attribute of a study: its settings, search space and cohort
SCORES = "scores"  # attribute of a trial: the scores of its folds
KNOWN = "known"  # attribute of a trial: given, not proposed; never pruned


class RangeRecord(BaseModel):
    """Range of a search space, as a study stores it."""

    model_config = ConfigDict(frozen=True)

    low: int | float
    high: int | float
    log: bool
    step: int | float | None


class StudyRecord(BaseModel):
    """Part of a study's `IDENTITY` that a report reads.

    Attributes:
        space: Range or choices, by setting.
        folds: Outer folds whose inner validation scores are averaged.
    """

    model_config = ConfigDict(frozen=True)

    space: dict[str, RangeRecord | tuple[bool | int | float | str | None, ...]]
    objectives: tuple[str, ...]
    folds: tuple[int, ...]
    sampler: Literal["tpe", "random"]
    seed: int
    cohort: CohortSummary


def read_study_record(study: Study) -> StudyRecord:
    """Read what a study tunes, and on which patients."""
    return StudyRecord.model_validate(study.user_attrs[IDENTITY])


def finished(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """List the complete and pruned trials."""
    return [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]


def values_of(trial: FrozenTrial) -> list[float]:
    """List the objectives of a trial; none if it has no result."""
    return list(trial.values or ())


def best_trial(study: Study) -> FrozenTrial:
    """Find the complete trial with the best first objective; ties go to the lower loss, then to the earlier trial.

    With several objectives this is the end of the Pareto front where the first objective is best.

    Raises:
        StudyError: If no trial is complete.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        raise StudyError(
            f"study {study.study_name}: no finished trial yet.", "Run some first: `fusionln study run FILE`."
        )
    sign = 1 if study.directions[0] == StudyDirection.MINIMIZE else -1

    def rank(trial: FrozenTrial) -> tuple[float, float, int]:
        losses = [each["loss"] for each in trial.user_attrs.get(SCORES, [])]
        return sign * trial.values[0], float(np.mean(losses)) if losses else 0.0, trial.number

    return min(complete, key=rank)
