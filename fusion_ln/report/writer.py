"""Write a report: one page that needs nothing else, its figures as PNG and its tables as CSV beside it."""

from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.files import write_atomically, write_text
from fusion_ln.report import figures, style, words
from fusion_ln.report.examples import choose_examples, draw_example
from fusion_ln.report.figures import Plate
from fusion_ln.report.results import MACRO, N_RESAMPLES, Results, read_results
from fusion_ln.report.tables import Sheet, all_sheets, shown_metrics
from fusion_ln.runs import RunFolder
from fusion_ln.terms import SIMULATED

MANY_MODELS = 9  # more than the first page has room for

Plates = dict[str, list[Plate]]


def write_report(out: Path, runs: list[RunFolder], cohort: Cohort, *, title: str, question: str = "") -> Path:
    """Write ``report.html``, ``figures/*.png`` and ``tables/*.csv`` into ``out``; it never calls a model.

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
    results = read_results(runs, cohort)
    sheets = all_sheets(results)
    with style.figure_style():
        plates = _draw(results)
        pictures = {}
        for plate in (plate for group in plates.values() for plate in group):
            pictures[plate.name] = style.svg_of(plate.figure, plate.name)
            _write_png(out / "figures" / f"{plate.name}.png", style.png_of(plate.figure, plate.title))
    for sheet in sheets.values():
        write_text(out / "tables" / f"{sheet.name}.csv", _csv(sheet, cohort))
    page = out / "report.html"
    write_text(page, _render(results, title, question, plates, pictures, sheets))
    return page


def _draw(results: Results) -> Plates:
    """All figures of the page, by section."""
    first = results.models
    if len(first) > MANY_MODELS:  # the first page shows what belongs to its answer, the models' section all
        groups = {model.group for model in results.headline}
        first = tuple(model for model in results.models if model.group in groups)
    plates: Plates = {
        "auc": [figures.draw_auc(results, first)],
        "auc_all": [figures.draw_auc(results, results.models, "auc_all")] if first != results.models else [],
        "differences": [],
        "examples": [draw_example(results, example) for example in choose_examples(results)],
        "confusion": [figures.draw_confusion(results, model) for model in results.models],
        "roc": [figures.draw_roc(results, name) for name in results.cohort.classes],
        "folds": [figures.draw_folds(results)],
        "learning": [figures.draw_learning(results, m) for m in results.models if m.history is not None],
    }
    if not results.differences.empty:
        weak = results.weak_class
        plates["differences"] = [
            figures.draw_differences(results, MACRO, "all", "AUC"),
            figures.draw_differences(results, "recall", weak, f"recall of {weak}"),
        ]
    return plates


def _render(
    results: Results, title: str, question: str, plates: Plates, pictures: dict[str, str], sheets: dict[str, Sheet]
) -> str:
    environment = Environment(
        loader=PackageLoader("fusion_ln.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": _cell, "number": style.number}
    environment.globals |= {"spread": style.spread}
    return environment.get_template("report.html").render(
        results=results,
        title=title,
        question=question,
        words=words,
        plates=plates,
        pictures={name: Markup(svg) for name, svg in pictures.items()},
        sheets=sheets,
        metrics=shown_metrics(results),
        n_resamples=N_RESAMPLES,
        colours=style.COLOURS,
        record=results.main.record,
        paper=[model for model in results.models if model.protocol == "paper"],
    )


def _write_png(path: Path, png: bytes) -> None:
    def write(temporary: Path) -> None:
        temporary.write_bytes(png)

    write_atomically(path, write)


def _csv(sheet: Sheet, cohort: Cohort) -> str:
    """The sheet with a column that says so where the patients are simulated."""
    table = sheet.table.assign(**{SIMULATED: True}) if cohort.simulated else sheet.table
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text


def _cell(value: Any) -> str:
    """A table's value on the page: three digits for a fraction, a dash for nothing."""
    if isinstance(value, float):
        whole = abs(value) >= 100
        return "–" if pd.isna(value) else style.number(value, 1 if whole else 3)
    return str(value)
