"""Plans of tuning: locate the studies of an experiment file, prepare them, and run the tuned experiment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import SettingsError
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.training.experiment import experiment_cohort, run_experiment
from fusion_ln.training.experiment_file import ExperimentSettings, experiment_fits, read_experiment
from fusion_ln.training.pretraining.start import resolve_weights
from fusion_ln.tuning.experiment import JOURNAL, Tuning, budget_of
from fusion_ln.tuning.found import describe_tuning, found_settings, write_tuned
from fusion_ln.tuning.storage import open_storage
from fusion_ln.tuning.worker import Conditions


@dataclass(frozen=True)
class StudyPlace:
    """An experiment with a search space, the folder of its runs and the storage of its studies."""

    file: Path
    experiment: ExperimentSettings
    out: Path
    storage: str


def locate_studies(
    file: Path, *, out: Path | None = None, storage: str | None = None, study: Mapping[str, object] | None = None
) -> StudyPlace:
    """Read an experiment file and find the place of its studies.

    Args:
        file: The experiment file.
        out: Folder of its runs; by default ``runs/<name>``.
        storage: Optuna's; by default a journal file in ``out``.
        study: Changes to the experiment's `StudySettings`; a new budget replaces the whole budget.

    Raises:
        SettingsError: See `read_experiment`; or if a change does not fit.
    """
    experiment = read_experiment(file)
    if changes := dict(study or {}):
        if changes.keys() & {"trials", "seconds"}:
            changes = {"trials": None, "seconds": None, **changes}
        changed = experiment.study.with_changes(changes, str(file))
        experiment = experiment.model_copy(update={"study": changed})
    out = out or Path("runs") / experiment.name
    return StudyPlace(file, experiment, out, storage or str(out / JOURNAL))


def plan_tuning(place: StudyPlace, device: DeviceSettings, warm_start: Path | None = None) -> tuple[Tuning, Conditions]:
    """Check an experiment's studies before anything is simulated or trained, and prepare them.

    Args:
        place: The experiment and its storage.
        device: Where trials run.
        warm_start: Tuned experiment whose settings are tried right after the untuned ones.

    Raises:
        SettingsError: If the experiment cannot be tuned, or a trial would need several devices.
        StudyError: If the storage cannot be reached.
    """
    if device.processes > 1 or device.engine != "local":
        raise SettingsError(
            "--devices, --nodes, --engine: a trial runs on one device.",
            "Give `--workers N`, and the same command on other machines.",
        )
    experiment, out = place.experiment, place.out
    fit = next(iter(experiment_fits(experiment, str(place.file)).values()))
    known = read_experiment(warm_start).tuned if warm_start else {}
    tuning = Tuning(experiment, experiment_cohort(experiment, place.file), fit, out, known)
    tuning.check()
    open_storage(place.storage)
    start = resolve_weights((experiment.weights or [fit.weights])[0], fit, out, device)
    tuning = Tuning(experiment, tuning.cohort, start, out, known)
    return tuning, Conditions(place.storage, budget_of(experiment), device)


@dataclass(frozen=True)
class TunedRuns:
    """The runs of a tuned experiment, beside the untuned ones."""

    file: Path
    experiment: ExperimentSettings
    cohort: Cohort
    runs: list[RunFolder]
    question: str


def apply_tuning(place: StudyPlace, trials: Mapping[str, int], device: DeviceSettings) -> TunedRuns:
    """Write the tuned experiment and run it.

    Args:
        place: The experiment and its storage.
        trials: Trial to take by study; the best one of the others.
        device: Where fits run.

    Raises:
        StudyError: If a study has no finished trial, or not the named one.
    """
    file = write_tuned(place.experiment, place.file, place.out, found_settings(place.experiment, place.storage, trials))
    experiment = read_experiment(file)
    cohort = experiment_cohort(experiment, file)
    runs = run_experiment(experiment, cohort, experiment_fits(experiment, str(file)), place.out, device)
    question = f"{experiment.question} {describe_tuning(place.experiment, place.storage)}"
    return TunedRuns(file, experiment, cohort, runs, question)
