"""The page of a model on another cohort, from the files of its evaluation alone."""

from pathlib import Path

from fusion_ln.evaluation.external.answers import read_answers
from fusion_ln.evaluation.external.record import PREDICTIONS, read_recalibration, read_record
from fusion_ln.report.external import text
from fusion_ln.report.external.figures import draw_aucs
from fusion_ln.report.external.sections import build_parts
from fusion_ln.report.kit import style
from fusion_ln.report.kit.page import write_page

PAGE = "report.html"


def write_evaluation(folder: Path, out: Path | None = None) -> Path:
    """Write ``report.html`` of the evaluation in ``folder``; ``out``: another folder for the page.

    Raises:
        RunError, PredictionsError: If a file of the evaluation is damaged.
    """
    record, figures = read_record(folder)
    answers = read_answers(folder / PREDICTIONS)
    again = read_recalibration(folder) if record.cases else None
    with style.figure_style():
        answer = draw_aucs(figures, record.cohort.simulated, record.cohort.attainable) if figures else None
        parts = build_parts(record, figures, answers, again)
    plates = [*([answer] if answer else []), *(plate for part in parts for plate in part.plates)]
    sheets = [sheet for part in parts for sheet in (*part.sheets, *part.hidden) if len(sheet.table)]
    return write_page(
        (out or folder) / PAGE,
        "evaluation.html",
        plates,
        sheets,
        simulated=record.cohort.simulated,
        record=record,
        figures=figures,
        answer=answer,
        parts=parts,
        text=text,
    )
