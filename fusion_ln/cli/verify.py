"""`fusionln verify`: what a run says, recomputed from its tables."""

from pathlib import Path

import click

from fusion_ln.cli.common import Command, moved_cohort_option


@click.command(cls=Command)
@click.argument("folder", metavar="RUN|MODEL", type=click.Path(exists=True, file_okay=False, path_type=Path))
@moved_cohort_option
def verify(folder: Path, cohort: Path | None) -> None:
    """Recompute what RUN says from its tables, and name the first figure that differs.

    RUN is a run, the folder of a fusion and its baselines or of an experiment, the output of `fusionln compare` or
    `fusionln evaluate`, of `fusionln plan`, or a model of `fusionln freeze`: its digest, its hashes, and the figures of
    its card.
    Probabilities, metrics, late fusions, models of columns, and every table and text of the reports and plans are
    computed anew and compared to 13 digits; hashes of the cohort and its pictures, folds and formats are checked. What
    cannot be recomputed is listed. Exit code 1 if anything differs.
    """
    from fusion_ln.verify.verify import verify as recompute

    found = recompute(folder, cohort)
    width = max(map(len, found.agreeing), default=0)
    for place, checked in found.agreeing.items():
        click.echo(f"{place:{width}}  {checked}")
    click.echo("Not recomputed:")
    for left in found.left:
        click.echo(f"  {left}")
    click.echo(f"{folder}: every figure that follows from its tables agrees.")
