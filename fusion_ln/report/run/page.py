"""The report: one page that needs nothing else, its figures as PNG and its tables as CSV beside it."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

from fusion_ln.files.formats import write_text
from fusion_ln.report.kit import style
from fusion_ln.report.kit.page import write_page
from fusion_ln.report.run import sections, text
from fusion_ln.report.run.figures import draw_auc
from fusion_ln.report.run.model_card import model_card
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section
from fusion_ln.terms import PATIENT
from fusion_ln.units import nodes_counted


def write_results(out: Path, results: Results, *, title: str, question: str = "", seeds: Path | None = None) -> Path:
    """Write ``report.html``, ``model_card.md``, ``figures/*.png`` and ``tables/*.csv`` into ``out``.

    It shows what the runs wrote and never calls a model.

    The best single modality is the one with the highest mean AUC on inner validation; the fusion of the headline is
    the first of the runs. Neither choice looks at the held-out predictions that the figures come from.

    Args:
        out: Folder, made if needed; an earlier report in it is overwritten.
        results: What `read_results` made of the runs.
        title: Heading of the page.
        question: The question in one sentence.
        seeds: The page over the seeds, if there is one.

    Returns:
        Path of the page.

    Raises:
        RunError: If ``out`` cannot be written to.
    """
    report = Report(results, out, title, question, seeds)
    write_text(out / "model_card.md", model_card(results))
    return _write_report(out / "report.html", report)


def write_without_patients(page: Path, results: Results, *, title: str, question: str, note: str) -> Path:
    """Write the report alone, for whom its patients are none of: see `Report.without_patients`.

    Args:
        page: The file.
        results: Models whose names tell no place on a machine; links to their other pages would lead nowhere.
        title, question: See `write_results`.
        note: What the figures are of.

    Returns:
        Path of the page.
    """
    return _write_report(page, Report(results, page.parent, title, question, without_patients=True, note=note))


def _write_report(page: Path, report: Report) -> Path:
    results = report.results
    with style.figure_style():
        answer = draw_auc(results, report.first_models)
        built = build_sections(report)
    return write_page(
        page,
        "report.html",
        [answer, *(plate for section in built for plate in section.plates)],
        [sheet for section in built for sheet in section.tables.values()],
        simulated=results.cohort.simulated,
        beside=not report.without_patients,
        nodes=nodes_counted(results.cohort.patients[PATIENT].tolist()),
        titles={model.name: model.title for model in results.models},
        report=report,
        results=results,
        text=text,
        answer=answer,
        sections=built,
        paper=[model for model in results.models if model.protocol == "paper"],
    )


def build_sections(report: Report) -> list[Section]:
    """Build the sections of all modules below `sections` that have something to show, in the order of their place.

    Of nodes it builds those alone whose module says by ``OF_NODES = True`` that its figures hold where patients have
    several of them; without patients, those whose module says by ``WITHOUT_PATIENTS = True`` that it then shows none.
    """
    asked = {"OF_NODES": report.results.cohort.of_nodes, "WITHOUT_PATIENTS": report.without_patients}
    marks = [mark for mark, is_asked in asked.items() if is_asked]
    built = []
    for info in walk_packages(sections.__path__, f"{sections.__name__}."):
        module = None if info.ispkg else import_module(info.name)
        if module and all(getattr(module, mark, False) for mark in marks):
            build: Callable[[Report], Section | None] = module.build
            built.append(build(report))
    return sorted((section for section in built if section), key=lambda section: section.place)
