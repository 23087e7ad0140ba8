"""`fusionln plan`: patients that a study needs."""

from pathlib import Path

import click

from fusion_ln.cli.common import DIRECTORY, Command, print_paths
from fusion_ln.cli.options import settings_options, take
from fusion_ln.evaluation.planning.settings import PlanSettings


@click.command(cls=Command)
@click.argument("runs", nargs=-1, type=click.Path(exists=True, path_type=Path))
@settings_options(PlanSettings, defaults=True)
@click.option("--out", type=DIRECTORY, default="plan", show_default=True, help="Folder for the page and its curves.")
def plan(runs: tuple[Path, ...], out: Path, **options: object) -> None:
    """Say how many patients a study needs, and write the curves.

    For an AUC with an interval of some width, for a gain in AUC, and for a sensitivity with an interval of some width.
    RUNS are one or two run folders or tables of predictions, the better model first; without them, assume AUCs.
    """
    from fusion_ln.report.plan import describe_needs, write_plan

    page, needs = write_plan(out, list(runs), take(options, PlanSettings))
    for line in describe_needs(needs):
        click.echo(line)
    print_paths({"Page": page, "Table": out / "tables" / "plan.csv"})
