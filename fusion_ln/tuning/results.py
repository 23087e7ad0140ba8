"""Results of a study, read from its trials; imports no torch, so that a report may read them."""

import math
from typing import Annotated

import numpy as np
from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, ValidationError

from fusion_ln.errors import StudyError
from fusion_ln.records.parts import CohortSummary
from fusion_ln.settings.studies import SamplerName

IDENTITY = "fusion_ln"  # attribute of a study: its settings, search space and cohort
FOLD_SCORES = "scores"  # attribute of a trial: the scores of its folds
KNOWN = "known"  # attribute of a trial: given, not proposed; never pruned


Number = StrictInt | StrictFloat
KnownNumber = Annotated[Number, Field(gt=-math.inf)]  # no NaN


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
    sampler: SamplerName
    seed: int
    cohort: CohortSummary


class TrialScores(BaseModel):
    """Scores of a fold on inner validation that are read again."""

    loss: KnownNumber
    seconds: KnownNumber


class TrialAttributes(BaseModel):
    """Attributes of a trial that are read again: `FOLD_SCORES`."""

    scores: tuple[TrialScores, ...] = ()


class TrialRecord(BaseModel):
    """Part of a trial that is read again; ``values`` are its objectives, none if it has no result."""

    values: tuple[KnownNumber, ...] | None
    intermediate_values: dict[StrictInt, Number]
    user_attrs: TrialAttributes


def read_study_record(study: Study) -> StudyRecord:
    """Read what a study tunes, and on which patients.

    Raises:
        StudyError: If it was not begun by this package, or is damaged.
    """
    try:
        return StudyRecord.model_validate(study.user_attrs.get(IDENTITY))
    except ValidationError as error:
        raise _damaged(study, "its description", error) from None


def check_study(study: Study) -> None:
    """Refuse a study whose storage was damaged, as far as it can be told.

    Raises:
        StudyError: Naming the trial and the entry.
    """
    record, n_objectives = read_study_record(study), len(study.directions)
    if len(record.objectives) != n_objectives or study.metric_names not in (None, list(record.objectives)):
        raise _damaged(
            study, "its description", f"objectives {', '.join(record.objectives)}, {n_objectives} directions"
        )
    for trial in study.get_trials(deepcopy=False):
        try:
            read = TrialRecord.model_validate({name: getattr(trial, name) for name in TrialRecord.model_fields})
        except ValidationError as error:
            raise _damaged(study, f"trial {trial.number}", error) from None
        if trial.state == TrialState.COMPLETE and len(read.values or ()) != n_objectives:
            raise _damaged(study, f"trial {trial.number}", f"{len(read.values or ())} of {n_objectives} values")
        if trial.state == TrialState.COMPLETE and trial.params.keys() != record.space.keys():
            raise _damaged(study, f"trial {trial.number}", f"it lacks a setting of {', '.join(record.space)}")


def _damaged(study: Study, part: str, error: ValidationError | str) -> StudyError:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        error = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lstrip(": ")
    return StudyError(
        f"study {study.study_name}: {part} is damaged or of another program ({error}).",
        "Restore the storage of the study, or begin anew with another `--storage`.",
    )


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
        losses = [each["loss"] for each in trial.user_attrs.get(FOLD_SCORES, [])]
        return sign * trial.values[0], float(np.mean(losses)) if losses else 0.0, trial.number

    return min(complete, key=rank)
