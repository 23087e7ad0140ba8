"""`fusionln study`: tuning by Optuna, on one machine or on many."""

from pathlib import Path
from typing import Any

import click

from fusion_ln.cli.common import DIRECTORY, EXISTING_FILE, device_options, device_settings, report_experiment, together


@click.group()
def study() -> None:
    """Tune an experiment's settings on inner validation; held-out folds are never read.

    An experiment FILE (TOML) is tuned if it has a search space: a table [space.baseline], [space.head] or both.
    """


# Which studies are meant.
place_options = together(
    click.argument("file", type=EXISTING_FILE),
    click.option("--out", type=DIRECTORY, help="Folder for the runs.  [default: runs/NAME]"),
    click.option(
        "--storage",
        metavar="URL",
        envvar="FUSIONLN_STORAGE",
        help="Where the trials lie: any Optuna URL, as postgresql+psycopg://user@host/db, or a journal file. Also "
        "$FUSIONLN_STORAGE, which keeps a password out of sight.  [default: OUT/study.journal]",
    ),
    click.option(
        "--scheme",
        type=click.Choice(["pooled", "per-fold"]),
        help="One study for all outer folds, or one for each.  [default: baselines pooled, heads per-fold]",
    ),
)


@study.command("run")
@place_options
@click.option("--trials", type=click.IntRange(min=1), help="Finished trials of each study.  [default: 40]")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds of computing of each study.")
@click.option(
    "--objectives",
    metavar="NAME[,NAME]",
    help="auc, loss, recall:CLASS, seconds. With several nothing is pruned.  [default: auc]",
)
@click.option(
    "--warm-start",
    type=EXISTING_FILE,
    help="A tuned experiment, as `study apply` writes it: its settings are tried right after the untuned ones.",
)
@device_options
def run_command(file: Path, **options: Any) -> None:
    """Run the trials that are still missing; the same command on other machines takes part.

    The first trial is the untuned one, so that tuning cannot do worse on inner validation. With one worker the same
    seed gives the same trials, also after an interruption.
    """
    tuning, how = _open(file, device_settings(options), **options)
    from fusion_ln.tuning.experiment import tune

    tune(tuning, how)
    click.echo(f"Studies: {_shown(how.storage)}")
    click.echo(f"Next:    fusionln study show {file}, then fusionln study apply {file}")


@study.command()
@place_options
def show(file: Path, out: Path | None, storage: str | None, scheme: str | None) -> None:
    """Print the studies of FILE and draw their history, importances, parameters and pruning."""
    from fusion_ln.report.study import summarise, write_study_page

    experiment, out, storage = _place(file, out, storage, scheme)
    from fusion_ln.tuning.experiment import open_studies

    by_run = open_studies(experiment, storage)
    studies = [each for of_run in by_run.values() for each in of_run]
    click.echo(summarise(studies).to_string(index=False))
    click.echo(f"Page: {write_study_page(out, experiment.name, by_run)}")


@study.command("apply")
@place_options
@click.option("--trial", "trials", metavar="STUDY=NUMBER", multiple=True, help="Take this trial, not the best one.")
@device_options
def apply_command(
    file: Path,
    out: Path | None,
    storage: str | None,
    scheme: str | None,
    trials: tuple[str, ...],
    **options: Any,
) -> None:
    """Write the tuned experiment, run its folds beside the untuned ones, and report on all of them."""
    experiment, out, storage = _place(file, out, storage, scheme)
    chosen = {}
    for each in trials:
        name, _, number = each.rpartition("=")
        if not number.isdigit():
            raise click.BadParameter(f"{each!r} is not as in `--trial {experiment.name}/baseline-2d=7`.")
        chosen[name] = int(number)
    _apply(file, experiment, out, storage, chosen, device_settings(options))


def tune_and_apply(file: Path, experiment: Any, out: Path, where: Any) -> None:
    """`study run` and `study apply` in one."""
    tuning, how = _open(file, where, out=out)
    from fusion_ln.tuning.experiment import tune

    tune(tuning, how)
    _apply(file, experiment, out, how.storage, {}, where)


def _place(file: Path, out: Path | None, storage: str | None, scheme: str | None) -> tuple[Any, Path, str]:
    """The experiment, the folder of its runs and the storage of its studies."""
    _need_optuna()
    from fusion_ln.training.experiment_file import read_experiment
    from fusion_ln.tuning.experiment import JOURNAL

    experiment = read_experiment(file)
    if scheme:
        experiment = experiment.model_copy(update={"study": experiment.study.model_copy(update={"scheme": scheme})})
    out = out or Path("runs") / experiment.name
    return experiment, out, storage or str(out / JOURNAL)


def _open(
    file: Path,
    where: Any,
    *,
    out: Path | None,
    storage: str | None = None,
    scheme: str | None = None,
    trials: int | None = None,
    timeout: float | None = None,
    objectives: str | None = None,
    warm_start: Path | None = None,
) -> tuple[Any, Any]:
    """Resolve the options; what can be wrong with them is found before anything is simulated or trained."""
    if where.processes > 1 or where.engine != "local":
        raise click.UsageError("A trial runs on one device: give --workers N, and the same command on other machines.")
    experiment, out, storage = _place(file, out, storage, scheme)
    from fusion_ln.training.experiment import experiment_cohort, resolve_weights
    from fusion_ln.training.experiment_file import StudySettings, experiment_fits, read_experiment
    from fusion_ln.tuning.experiment import Tuning, budget_of
    from fusion_ln.tuning.storage import open_storage
    from fusion_ln.tuning.worker import Conditions

    given = {"trials": trials, "seconds": timeout, "objectives": objectives and tuple(objectives.split(","))}
    budget = ("trials", "seconds") if trials or timeout else ()
    kept = {key: value for key, value in experiment.study.model_dump().items() if key not in budget}
    values = {**kept, **{key: value for key, value in given.items() if value}}
    experiment = experiment.model_copy(update={"study": StudySettings.read(values, str(file))})
    [fit] = list(experiment_fits(experiment, str(file)).values())[:1]
    known = read_experiment(warm_start).tuned if warm_start else {}
    tuning = Tuning(experiment, experiment_cohort(experiment, file), fit, out, known)
    tuning.check()
    open_storage(storage)
    start = resolve_weights((experiment.weights or [fit.weights])[0], fit, out, where)
    return Tuning(experiment, tuning.cohort, start, out, known), Conditions(storage, budget_of(experiment), where)


def _apply(file: Path, experiment: Any, out: Path, storage: str, chosen: dict[str, int], where: Any) -> None:
    from fusion_ln.training.experiment import experiment_cohort, run_experiment
    from fusion_ln.training.experiment_file import experiment_fits, read_experiment
    from fusion_ln.tuning.experiment import describe_tuning, found_settings, write_tuned

    tuned = write_tuned(experiment, file, out, found_settings(experiment, storage, chosen))
    click.echo(f"Tuned experiment: {tuned}")
    applied = read_experiment(tuned)
    cohort = experiment_cohort(applied, tuned)
    runs = run_experiment(applied, cohort, experiment_fits(applied, str(tuned)), out, where)
    question = f"{applied.question} {describe_tuning(experiment, storage)}"
    report_experiment(out, runs, cohort, applied, question)


def _shown(storage: str) -> str:
    from fusion_ln.tuning.storage import shown

    return shown(storage)


def _need_optuna() -> None:
    """One message instead of a traceback where the package was installed without its dependencies."""
    from importlib.util import find_spec

    from fusion_ln.errors import StudyError

    if find_spec("optuna") is None:
        raise StudyError("Optuna is not installed, which runs the studies.", "`pip install 'optuna>=5'`")
