"""`fusionln compare`: finished models of one cohort against each other."""

from pathlib import Path

import click

EXISTING = click.Path(exists=True, path_type=Path)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=EXISTING)
@click.option(
    "--reference",
    type=EXISTING,
    help="The one of RUNS to compare with.  [default: best single modality by inner validation]",
)
@click.option(
    "--cohort",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Cohort folder, if it is not where the runs were made on it.",
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default="comparison", show_default=True, help="Folder."
)
def compare(runs: tuple[Path, ...], reference: Path | None, cohort: Path | None, out: Path) -> None:
    """Compare models on the same patients and write the evidence.

    RUNS are run folders, or tables of predictions (predictions.parquet), of one cohort and its folds. A bare table
    gives what it can: a --cohort adds subgroups and pictures, an inner_predictions.parquet beside it calibration.
    """
    from fusion_ln.errors import RunError
    from fusion_ln.files import write_text
    from fusion_ln.progress import say
    from fusion_ln.report.kit.sheets import csv_of
    from fusion_ln.report.run.page import write_results
    from fusion_ln.report.run.reading import read_inputs
    from fusion_ln.runs import RunFolder

    if RunFolder(out).record.is_file():
        raise RunError(f"{out}: holds a run, whose report would be lost.", "Choose another folder with `--out DIR`.")
    results = read_inputs(list(runs), reference=reference, cohort=cohort, n_resamples=10_000)
    say(f"Comparing {len(results.models)} models on {results.compared_patients} patients, 10,000 bootstrap draws")
    comparison = results.comparison
    assert comparison is not None, "there are two models or more, one of which is the reference"
    for name, table in (("comparison", comparison.comparison), ("models", comparison.models)):
        write_text(out / f"{name}.csv", csv_of(table, results.cohort.simulated))
    title = f"{len(results.models)} models compared"
    question = f"Does any of them tell the diagnoses apart better than {comparison.reference}?"
    report = write_results(out, results, title=title, question=question)
    for path in (out / "comparison.csv", out / "models.csv", out / "model_card.md", report):
        click.echo(f"Wrote {path}")
