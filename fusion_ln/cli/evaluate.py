"""`fusionln evaluate`: a model on the cohort of another hospital."""

from pathlib import Path

import click

from fusion_ln.cli.common import DIRECTORY, EXISTING_FILE, Command, print_paths


@click.command(cls=Command)
@click.argument("model", type=DIRECTORY)
@click.option("--cohort", type=DIRECTORY, required=True, help="The other cohort.")
@click.option(
    "--protocol",
    type=EXISTING_FILE,
    help="Protocol written before, a TOML file: `endpoint`, `margin`, `subgroups`.",
)
@click.option(
    "--recalibrate",
    "cases",
    type=click.IntRange(min=1),
    metavar="K",
    help="Recalibrate besides on K local cases, drawn many times; a result of its own.",
)
@click.option("--label-free", is_flag=True, help="Look at pictures and predictions alone, not at the true classes.")
@click.option("--out", type=DIRECTORY, default="evaluation", show_default=True, help="Folder.")
def evaluate(model: Path, cohort: Path, protocol: Path | None, cases: int | None, label_free: bool, out: Path) -> None:
    """Evaluate MODEL on another cohort, once, with everything fixed before.

    MODEL is a folder of `fusionln freeze`, or a run. Patients and pictures that it was trained on are refused. The
    page gives AUC, calibration, the frozen operating points and how far they drift, sets, decision curves, subgroups
    and what differs between the cohorts. Every evaluation is entered in MODEL/evaluations.json.
    """
    if label_free and (protocol or cases):
        raise click.UsageError("--label-free looks at no true class: no --protocol and no --recalibrate with it.")
    from fusion_ln.cohort.folder import load_cohort
    from fusion_ln.external.evaluate import evaluate as run
    from fusion_ln.report.external.text import describe

    done = run(model, load_cohort(cohort), out, protocol=protocol, cases=cases, label_free=label_free)
    for line in describe(done.record, done.figures):
        click.echo(line)
    print_paths({"Page": done.page, "Figures": out / "evaluation.json", "Predictions": out / "predictions.parquet"})
