"""Write a report: one page that needs nothing else, its figures as PNG and its tables as CSV beside it."""

import os
from pathlib import Path
from urllib.parse import quote

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.evaluation.compare import FAMILY
from fusion_ln.files import write_text
from fusion_ln.metrics import METRICS, PRIMARY
from fusion_ln.report.kit import style
from fusion_ln.report.kit.figures import Plate
from fusion_ln.report.kit.page import write_page
from fusion_ln.report.run import figures
from fusion_ln.report.run import text as words
from fusion_ln.report.run.evidence import Evidence
from fusion_ln.report.run.evidence_figures import draw_decisions, draw_reliability, draw_subgroups, draw_subsets
from fusion_ln.report.run.examples import choose_examples, draw_disagreement, draw_example
from fusion_ln.report.run.model_card import model_card
from fusion_ln.report.run.reading import read_results
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.tables import all_sheets, shown_metrics
from fusion_ln.runs import RunFolder
from fusion_ln.terms import PATIENT

MANY_MODELS = 9  # more than the first page has room for
MOST_DISAGREEMENTS = 6  # patients shown with their pictures; the table lists all

Plates = dict[str, list[Plate]]


def write_report(out: Path, runs: list[RunFolder], cohort: Cohort, *, title: str, question: str = "") -> Path:
    """Write ``report.html``, ``model_card.md``, ``figures/*.png`` and ``tables/*.csv`` into ``out``.

    It reads what the runs wrote and never calls a model.

    The best single modality is the one with the highest mean AUC on inner validation; the fusion of the headline is
    the first one in ``runs``. Neither choice looks at the held-out predictions that the figures come from.

    Args:
        out: Made where it does not exist; what an earlier report left there is overwritten.
        runs: One finished run or more, of one cohort and its folds. A run is named by its folder, relative to the
            common parent of all.
        cohort: The cohort of the runs.
        title: Heading of the page.
        question: What was asked, in one sentence.

    Returns:
        Path of the page.

    Raises:
        RunError: If a run is unfinished, belongs to another cohort or other folds, or ``out`` cannot be written to.
        PredictionsError: If a run's predictions break their schema, or a class has fewer than 2 patients.
    """
    return write_results(out, read_results(runs, cohort), title=title, question=question)


def write_results(out: Path, results: Results, *, title: str, question: str = "", seeds: Path | None = None) -> Path:
    """As `write_report`, from results that are read already; ``seeds`` is the page on what holds over these."""
    evidence = Evidence(results)
    sheets = all_sheets(evidence, question)
    with style.figure_style():
        plates = _draw(evidence)
    write_text(out / "model_card.md", model_card(results))
    return write_page(
        out / "report.html",
        "report.html",
        [plate for group in plates.values() for plate in group],
        list(sheets.values()),
        simulated=results.cohort.simulated,
        titles={model.name: model.title for model in results.models},
        results=results,
        evidence=evidence,
        family=FAMILY,
        caveats={metric.name: metric.caveat for metric in METRICS},
        title=title,
        question=question,
        words=words,
        plates=plates,
        sheets=sheets,
        metrics=shown_metrics(results),
        n_resamples=results.n_resamples,
        record=results.main.record,
        seeds=relative_link(seeds, out) if seeds else "",
        explanations={m.title: relative_link(m.explanation, out) for m in results.models if m.explanation},
        audits={m.title: relative_link(m.audit, out) for m in results.models if m.audit},
        paper=[model for model in results.models if model.protocol == "paper"],
    )


def _draw(evidence: Evidence) -> Plates:
    """All figures of the page, by section."""
    results = evidence.results
    first = results.models
    if len(first) > MANY_MODELS:  # the first page shows what belongs to its answer, the models' section all
        groups = {model.group for model in results.headline}
        first = tuple(model for model in results.models if model.group in groups)
    classes = results.cohort.classes
    has_pictures = len(results.cohort.images) > 0
    bands = {name: {m.name: evidence.roc_band(m, name) for m in results.headline} for name in classes}
    plates: Plates = {
        "auc": [figures.draw_auc(results, first)],
        "auc_all": [figures.draw_auc(results, results.models, "auc_all")] if first != results.models else [],
        "differences": [],
        "examples": [draw_example(results, example) for example in choose_examples(results)] if has_pictures else [],
        "disagreements": [],
        "confusion": [figures.draw_confusion(results, model) for model in results.models],
        "roc": [figures.draw_roc(results, name, bands[name]) for name in classes],
        "reliability": [],
        "decisions": [draw_decisions(evidence)] if len(evidence.decisions) else [],
        "subgroups": [draw_subgroups(evidence, variable) for variable in evidence.by_variable],
        "subsets": [draw_subsets(evidence, model) for model in first if model.subsets],
        "folds": [figures.draw_folds(results)],
        "learning": [figures.draw_learning(results, m) for m in results.models if m.history is not None],
    }
    if has_pictures and len(evidence.disagreements):
        listed = evidence.disagreements[PATIENT][:MOST_DISAGREEMENTS]
        plates["disagreements"] = [draw_disagreement(results, patient, results.headline) for patient in listed]
    if results.main.name in evidence.scaled:
        plates["reliability"] = [draw_reliability(evidence, name) for name in classes]
    if not results.differences.empty:
        weak = results.weak_class
        plates["differences"] = [
            figures.draw_differences(results, PRIMARY, "all", "AUC"),
            figures.draw_differences(results, "recall", weak, f"recall of {weak}"),
        ]
    return plates


def relative_link(page: Path, folder: Path) -> str:
    """The address of a page for a link from a page in ``folder``; both may move together."""
    return quote(Path(os.path.relpath(page.resolve(), folder.resolve())).as_posix())
