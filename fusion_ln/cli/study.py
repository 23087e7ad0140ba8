"""`fusionln study`: tuning by Optuna, on one machine or on many."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fusion_ln.cli.common import DIRECTORY, EXISTING_FILE, Family, device_options, print_paths, together
from fusion_ln.cli.options import given, settings_options, take
from fusion_ln.errors import StudyError
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.studies import StudySettings

if TYPE_CHECKING:
    from fusion_ln.tuning.plan import StudyPlace


@click.group(cls=Family)
def study() -> None:
    """Tune an experiment's settings on inner validation.

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
    settings_options(StudySettings, "scheme"),
)


@study.command("run")
@place_options
@settings_options(
    StudySettings,
    "trials",
    "seconds",
    "objectives",
    flags={"seconds": "--timeout"},
    metavars={"objectives": "NAME[,NAME]"},
    split=["objectives"],
)
@click.option(
    "--warm-start",
    type=EXISTING_FILE,
    help="A tuned experiment, as `study apply` writes it: its settings are tried right after the untuned ones.",
)
@device_options
def run_command(
    file: Path,
    out: Path | None,
    storage: str | None,
    warm_start: Path | None,
    **options: object,
) -> None:
    """Run the trials that are still missing; the same command on other machines takes part.

    The first trial is the untuned one, so that tuning cannot do worse on inner validation. With one worker the same
    seed gives the same trials, also after an interruption.
    """
    _need_optuna()
    from fusion_ln.tuning.experiment import tune
    from fusion_ln.tuning.plan import locate_studies, plan_tuning
    from fusion_ln.tuning.storage import hide_password

    device = take(options, DeviceSettings)
    place = locate_studies(file, out=out, storage=storage, study=given(options))
    tune(*plan_tuning(place, device, warm_start))
    click.echo(f"Studies: {hide_password(place.storage)}")
    click.echo(f"Next:    fusionln study show {file}, then fusionln study apply {file}")


@study.command()
@place_options
def show(file: Path, out: Path | None, storage: str | None, **options: object) -> None:
    """Print the studies of FILE and draw their history, importances, parameters and pruning."""
    _need_optuna()
    from fusion_ln.report.study import summarise, write_study_page
    from fusion_ln.tuning.found import open_studies
    from fusion_ln.tuning.plan import locate_studies

    place = locate_studies(file, out=out, storage=storage, study=given(options))
    by_run = open_studies(place.experiment, place.storage)
    studies = [each for of_run in by_run.values() for each in of_run]
    click.echo(summarise(studies).to_string(index=False))
    click.echo(f"Page: {write_study_page(place.out, place.experiment.name, by_run)}")


@study.command("apply")
@place_options
@click.option("--trial", "trials", metavar="STUDY=NUMBER", multiple=True, help="Take this trial, not the best one.")
@device_options
def apply_command(
    file: Path,
    out: Path | None,
    storage: str | None,
    trials: tuple[str, ...],
    **options: object,
) -> None:
    """Write the tuned experiment, run its folds beside the untuned ones, and report on all of them."""
    _need_optuna()
    from fusion_ln.tuning.plan import locate_studies

    chosen = {}
    for each in trials:
        name, _, number = each.rpartition("=")
        if not number.isdigit():
            raise click.BadParameter(f"{each!r} is not as in `--trial NAME/baseline-2d=7`.")
        chosen[name] = int(number)
    device = take(options, DeviceSettings)
    place = locate_studies(file, out=out, storage=storage, study=given(options))
    _apply(place, chosen, device)


def tune_and_apply(file: Path, out: Path, device: DeviceSettings) -> None:
    """Run `study run` and `study apply` in one."""
    _need_optuna()
    from fusion_ln.training.experiment import experiment_needs
    from fusion_ln.tuning.experiment import tune
    from fusion_ln.tuning.plan import locate_studies, plan_tuning

    place = locate_studies(file, out=out)
    tuning, conditions = plan_tuning(place, device)
    fits = {tuning.fit.backbone: tuning.fit}
    tune(tuning, conditions, experiment_needs(place.experiment, tuning.cohort, fits, out))
    _apply(place, {}, device)


def _apply(place: "StudyPlace", chosen: dict[str, int], device: DeviceSettings) -> None:
    from fusion_ln.report.experiment import Heading, write_experiment
    from fusion_ln.tuning.plan import apply_tuning

    tuned = apply_tuning(place, chosen, device)
    click.echo(f"Tuned experiment: {tuned.file}")
    title = tuned.experiment.name
    print_paths(write_experiment(place.out, tuned.runs, tuned.cohort, Heading(title, tuned.question)))


def _need_optuna() -> None:
    """Refuse to go on without Optuna, where the package was installed without its dependencies."""
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise StudyError("Optuna is not installed, which runs the studies.", "`pip install 'optuna>=5'`")
