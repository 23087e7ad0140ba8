"""`fusionln freeze`: make a model that may leave its study."""

from pathlib import Path

import click

from fusion_ln.cli.common import DIRECTORY


@click.command()
@click.argument("run", type=DIRECTORY)
@click.option("--out", type=DIRECTORY, required=True, help="Folder for the model.")
@click.option("--licence", required=True, metavar="NAME", help="Licence of the weights, as in `CC-BY-4.0`.")
@click.option("--cohort", type=DIRECTORY, help="Cohort of RUN, if it has moved.")
def freeze(run: Path, out: Path, licence: str, cohort: Path | None) -> None:
    """Freeze the mean of RUN's fold models as a folder of its own, which names no patient.

    It holds weights, calibration and the scores behind its sets of classes, for every subset of the modalities, and
    hashes of the pictures that it was trained on. `predict` takes it in place of RUN.
    """
    from fusion_ln.frozen.freeze import freeze as freeze_run
    from fusion_ln.runs import RunFolder

    digest = freeze_run(RunFolder(run), out, licence=licence, cohort=cohort)
    click.echo(f"Model:  {out}")
    click.echo(f"Digest: {digest}")
