"""`fusionln predict`: prediction of a new patient, or of a cohort, by the models of a run."""

from pathlib import Path

import click

from fusion_ln.cli.common import DIRECTORY
from fusion_ln.terms import MODALITIES

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("run", type=DIRECTORY)
@click.option("--2d", "grey", type=FILE, help="Grey-scale picture.")
@click.option("--cdfi", type=FILE, help="Colour Doppler picture.")
@click.option("--elastic", type=FILE, help="Elastography picture.")
@click.option(
    "--clinical", metavar="COLUMN=VALUE", multiple=True, help="Value of a clinical column that RUN takes; repeatable."
)
@click.option(
    "--frame", type=click.IntRange(min=0), default=0, show_default=True, help="Frame of a multi-frame picture."
)
@click.option("--cohort", type=DIRECTORY, help="Cohort whose patients to predict.")
@click.option("--csv", "out", type=FILE, help="CSV file for the probabilities.")
def predict(
    run: Path,
    grey: Path | None,
    cdfi: Path | None,
    elastic: Path | None,
    clinical: tuple[str, ...],
    frame: int,
    cohort: Path | None,
    out: Path | None,
) -> None:
    """Predict new patients by the mean of RUN's folds. For research only, never for a diagnosis."""
    from fusion_ln.cohort.cohort import load_cohort
    from fusion_ln.files import write_text
    from fusion_ln.predict.predictor import load_predictor
    from fusion_ln.progress import say
    from fusion_ln.runs import RunFolder

    pictures = {m: path for m, path in zip(MODALITIES, (grey, cdfi, elastic), strict=True) if path}
    if bool(pictures) == bool(cohort):
        raise click.UsageError("Give either pictures (--2d, --cdfi, --elastic) or --cohort DIR.")
    if clinical and cohort:
        raise click.UsageError("--clinical belongs to pictures; a cohort has its own columns.")
    values = _parse_clinical(clinical)
    predictor = load_predictor(RunFolder(run))
    if cohort:
        opened = load_cohort(cohort)
        table = predictor.predict_cohort(opened)
        say(f"{len(table)} of {len(opened.patients)} patients predicted.")
    else:
        table = predictor.predict_pictures(pictures, frame=frame, clinical=values)
    if out:
        write_text(out, table.to_csv(index=False))
        click.echo(f"Probabilities: {out}")
    else:
        click.echo(table.to_string(index=False, float_format="{:.3f}".format))


def _parse_clinical(options: tuple[str, ...]) -> dict[str, str]:
    """Parse ``COLUMN=VALUE`` options."""
    values = {}
    for option in options:
        column, _, value = option.partition("=")
        if not value:
            raise click.BadParameter(f"{option!r} is not of the form `--clinical age=54`.")
        values[column] = value
    return values
