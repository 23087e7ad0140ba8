"""Pages and tables of a comparison of finished models."""

from dataclasses import replace
from pathlib import Path

from fusion_ln.evaluation.probabilities.costs import is_table, parse_costs
from fusion_ln.evaluation.probabilities.prevalence import parse_prevalence
from fusion_ln.files.folders import refuse_taken
from fusion_ln.files.formats import write_text
from fusion_ln.files.locks import LOCK, locked
from fusion_ln.progress import say
from fusion_ln.report.kit.sheets import csv_of
from fusion_ln.report.record import PageRecord, refuse_other_page, relative
from fusion_ln.report.run.page import write_results
from fusion_ln.report.run.reading import read_inputs
from fusion_ln.terms import PAGE_RECORD

N_RESAMPLES = 10_000


def write_comparison(
    out: Path, runs: list[Path], *, reference: Path | None, cohort: Path | None, prevalence: str = "", costs: str = ""
) -> list[Path]:
    """Compare models on the same patients and write tables, model card and report; returns their paths.

    Args:
        out: Folder to write into.
        runs: Run folders or tables of predictions of one cohort.
        reference: The one of ``runs`` to compare with; by default the best single modality by inner validation.
        cohort: Cohort folder, if it has moved.
        prevalence: Shares of the classes in another population, see `parse_prevalence`; empty: none.
        costs: Costs of decisions, see `parse_costs`; empty: none.

    Raises:
        RunError: If ``out`` holds anything but a comparison; and see `read_inputs`.
        SettingsError: If prevalence or costs do not fit the cohort's classes.
    """
    refuse_taken(out, PAGE_RECORD)
    refuse_other_page(out, "comparison")
    results = read_inputs(runs, reference=reference, cohort=cohort, n_resamples=N_RESAMPLES)
    classes = results.cohort.classes
    results = replace(
        results,
        prevalence=parse_prevalence(prevalence, classes) if prevalence else None,
        costs=parse_costs(costs, classes) if costs else None,
    )
    say(f"Comparing {len(results.models)} models on {results.compared_patients} patients, 10,000 bootstrap draws")
    comparison = results.comparison
    assert comparison is not None, "there are two models or more, one of which is the reference"
    title = f"{len(results.models)} models compared"
    question = f"Does any of them tell the diagnoses apart better than {comparison.reference}?"
    paths = []
    with locked(out / LOCK):  # tables and page are those of one comparison
        for name, table in (("comparison", comparison.comparison), ("models", comparison.models)):
            paths.append(out / f"{name}.csv")
            write_text(paths[-1], csv_of(table, results.cohort.simulated))
        report = write_results(out, results, title=title, question=question)
        PageRecord(
            kind="comparison",
            runs=tuple(relative(run, out) for run in runs),
            reference=relative(reference, out) if reference else None,
            cohort=relative(cohort, out) if cohort else None,
            prevalence=prevalence,
            costs=relative(Path(costs), out) if is_table(costs) else costs,
        ).write(out)
    return [*paths, out / "model_card.md", report]
