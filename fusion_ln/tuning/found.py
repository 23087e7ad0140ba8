"""Settings that the studies of an experiment found, and the experiment made of them."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomli_w
from optuna import Study, get_all_study_names, load_study
from optuna.trial import FrozenTrial, TrialState

from fusion_ln.errors import StudyError
from fusion_ln.files.formats import write_text
from fusion_ln.settings.studies import Scheme
from fusion_ln.training.experiment_file import ExperimentSettings
from fusion_ln.tuning.results import best_trial, check_study, finished, read_study_record
from fusion_ln.tuning.storage import hide_password, open_storage, with_retries

TUNED_FILE = "tuned.toml"
POOLED_LEAK = (
    "Pooled over the folds ({}), so a patient whom one fold holds out had a small part, as inner validation of another "
    "fold, in choosing that fold's settings: a mild leak."
)


def open_studies(experiment: ExperimentSettings, storage: str) -> dict[str, list[Study]]:
    """Open the studies of an experiment, by the run that they tune; one, or one per fold in order.

    Raises:
        StudyError: If there is none, or the storage cannot be reached.
    """
    no_study = StudyError(
        f"{hide_password(storage)}: no study of {experiment.name}.", "Begin: `fusionln study run FILE`."
    )
    if "://" not in storage and not Path(storage).is_file():
        raise no_study
    opened = open_storage(storage)
    by_run: dict[str, list[Study]] = {}
    for name in with_retries(lambda: get_all_study_names(opened), hide_password(storage)):
        if not isinstance(name, str):
            raise StudyError(
                f"{hide_password(storage)}: damaged; a study is named {name!r}.", "Restore it from a copy."
            )
        start, _, rest = name.partition("/")
        if start == experiment.name and rest:
            study = load_study(study_name=name, storage=opened)
            check_study(study)
            if experiment.study.scheme in (None, scheme_of(study)):
                by_run.setdefault(rest.partition("/")[0], []).append(study)
    if not by_run:
        raise no_study
    for run, studies in by_run.items():
        if len({scheme_of(study) for study in studies}) > 1:
            raise StudyError(f"{run}: tuned both pooled and per fold.", "Choose one by `--scheme`.")
        studies.sort(key=lambda study: int(study.study_name.rpartition("-")[2]) if len(studies) > 1 else 0)
    return by_run


def scheme_of(study: Study) -> Scheme:
    """Return the scheme of a study, from its name."""
    return "per-fold" if "/fold-" in study.study_name else "pooled"


def found_settings(
    experiment: ExperimentSettings, storage: str, chosen: Mapping[str, int] = MappingProxyType({})
) -> dict[str, dict[str, Any]]:
    """Collect the settings that the studies found, by run, as an experiment's ``tuned`` takes them.

    Args:
        experiment: The experiment.
        storage: Where its studies are.
        chosen: Numbers of trials to take instead of the best, by the study's name.

    Raises:
        StudyError: If a study has no finished trial, or there is none for some fold, or no such trial.
    """
    by_run = open_studies(experiment, storage)
    names = {study.study_name for studies in by_run.values() for study in studies}
    if unknown := [name for name in chosen if name not in names]:
        raise StudyError(f"--trial {unknown[0]}: no study of that name.", f"There are {', '.join(sorted(names))}.")
    tuned: dict[str, dict[str, Any]] = {}
    for run, studies in by_run.items():
        settings = [_trial(study, chosen).params for study in studies]
        if scheme_of(studies[0]) == "pooled":
            tuned[run] = settings[0]
            continue
        n_folds = read_study_record(studies[0]).cohort.n_folds
        if len(settings) < n_folds:
            raise StudyError(
                f"{run}: {len(settings)} of {n_folds} folds have a study.", "Finish them: `fusionln study run FILE`."
            )
        tuned[run] = {"folds": settings}
    return tuned


def _trial(study: Study, chosen: Mapping[str, int]) -> FrozenTrial:
    if study.study_name not in chosen:
        return best_trial(study)
    number = chosen[study.study_name]
    complete = {t.number: t for t in study.get_trials(states=(TrialState.COMPLETE,))}
    if number not in complete:
        known = ", ".join(map(str, complete))
        raise StudyError(f"{study.study_name}: trial {number} is not complete.", f"These are: {known}.")
    return complete[number]


def write_tuned(experiment: ExperimentSettings, file: Path, out: Path, tuned: dict[str, dict[str, Any]]) -> Path:
    """Write the experiment with the settings that its studies found into ``out``; returns the path."""
    values = experiment.model_dump(mode="json", exclude={"study", "space", "tuned"}, exclude_defaults=True)
    if experiment.cohort:
        values["cohort"] = str((file.parent / experiment.cohort).resolve())
    text = f"# {file.name} with the settings that its studies found (`fusionln study apply`).\n\n"
    write_text(out / TUNED_FILE, text + tomli_w.dumps({**values, "tuned": tuned}))
    return out / TUNED_FILE


def describe_tuning(experiment: ExperimentSettings, storage: str) -> str:
    """Describe the tuning in two or three sentences, for the report of the tuned runs."""
    by_run = open_studies(experiment, storage)
    counts = {len(finished(study.get_trials(deepcopy=False))) for studies in by_run.values() for study in studies}
    spent = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    text = f"Tuned runs take the best of {spent} trials of each study, by inner validation alone."
    pooled = [run for run, studies in by_run.items() if scheme_of(studies[0]) == "pooled"]
    return f"{text} {POOLED_LEAK.format(', '.join(pooled))}" if pooled else text
