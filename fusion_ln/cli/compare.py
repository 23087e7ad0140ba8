"""`fusionln compare`: finished models of one cohort against each other."""

from pathlib import Path

import click

from fusion_ln.cli.common import Command, moved_cohort_option, population_options

EXISTING = click.Path(exists=True, path_type=Path)


@click.command(cls=Command)
@click.argument("runs", nargs=-1, required=True, type=EXISTING)
@click.option(
    "--reference",
    type=EXISTING,
    help="The one of RUNS to compare with.  [default: best single modality by inner validation]",
)
@moved_cohort_option
@population_options
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="comparison",
    show_default=True,
    help="Folder for the evidence.",
)
def compare(
    runs: tuple[Path, ...], reference: Path | None, cohort: Path | None, prevalence: str, costs: str, out: Path
) -> None:
    """Compare models on the same patients and write the evidence.

    RUNS are run folders, or tables of predictions (predictions.parquet), of one cohort and its folds. A bare table
    gives what it can: a --cohort adds subgroups and pictures, an inner_predictions.parquet beside it calibration.
    """
    from fusion_ln.report.comparison import write_comparison

    paths = write_comparison(out, list(runs), reference=reference, cohort=cohort, prevalence=prevalence, costs=costs)
    for path in paths:
        click.echo(f"Wrote {path}")
