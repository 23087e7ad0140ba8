"""`fusionln freeze`: make a model that may leave its study."""

from pathlib import Path
from typing import get_args

import click

from fusion_ln.cli.common import DIRECTORY, Command, moved_cohort_option
from fusion_ln.cli.options import given, settings_options, take
from fusion_ln.settings.base import Answer
from fusion_ln.settings.devices import DeviceSettings


@click.command(cls=Command)
@click.argument("run", type=DIRECTORY)
@click.option("--out", type=DIRECTORY, required=True, help="Folder for the model.")
@click.option(
    "--as",
    "answer",
    type=click.Choice(get_args(Answer)),
    default="ensemble",
    show_default=True,
    help="The mean of the folds' models, or one model that is trained once more, on all patients, for the median of "
    "the folds' best epochs.",
)
@click.option("--licence", required=True, metavar="NAME", help="Licence of the weights, as in `CC-BY-4.0`.")
@moved_cohort_option
@settings_options(DeviceSettings, "device", "workers")
def freeze(run: Path, out: Path, answer: Answer, licence: str, cohort: Path | None, **device: object) -> None:
    """Freeze RUN, a study, as a model: a folder of its own, which names no patient.

    It holds weights, calibration and the scores behind its sets of classes, for every subset of the modalities, hashes
    of the pictures that it was trained on, and a report that compares RUN with single modalities. `predict` takes it
    in place of RUN.
    """
    from fusion_ln.frozen.freeze import freeze as freeze_run
    from fusion_ln.runs import RunFolder

    chosen = given(device)
    if answer == "ensemble" and chosen:
        raise click.UsageError("--device and --workers belong to --as refit: an ensemble trains nothing.")
    settings = take(chosen, DeviceSettings)
    digest = freeze_run(RunFolder(run), out, licence=licence, answer=answer, cohort=cohort, device=settings)
    click.echo(f"Model:  {out}")
    click.echo(f"Digest: {digest}")
