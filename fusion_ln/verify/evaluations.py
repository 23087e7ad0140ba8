"""Verification of an evaluation of a model on another cohort: figures, verdict and page from its predictions."""

from pathlib import Path
from tempfile import TemporaryDirectory

from fusion_ln.evaluation.external.answers import read_answers
from fusion_ln.evaluation.external.figures import score_external
from fusion_ln.evaluation.external.recalibrate import recalibrate
from fusion_ln.evaluation.external.record import (
    EVALUATION_FILE,
    PREDICTIONS,
    RECALIBRATION,
    judge_endpoint,
    read_recalibration,
    read_record,
)
from fusion_ln.report.external.page import write_evaluation
from fusion_ln.report.kit.page import without_figures
from fusion_ln.verify.deviations import compare_values
from fusion_ln.verify.pages import compare_files


def verify_evaluation(folder: Path) -> str:
    """Recompute what an evaluation says from its predictions; returns what was checked, in a few words.

    Raises:
        VerifyError: Naming the first figure, cell or line that does not follow.
        RunError, PredictionsError: If a file is damaged.
    """
    record, figures = read_record(folder)
    answers = read_answers(folder / PREDICTIONS)
    checked = [f"{len(answers.table)} predictions"]
    compare_values(folder / EVALUATION_FILE, record.cohort.predicted, len(answers.table), "cohort.predicted")
    compare_values(folder / EVALUATION_FILE, record.cohort.unlike, answers.n_unlike, "cohort.unlike")
    compare_values(folder / EVALUATION_FILE, record.cohort.classes, answers.counts, "cohort.classes")
    compare_values(folder / EVALUATION_FILE, record.labels, answers.has_labels, "labels")
    if figures:
        expected = score_external(answers, record.model.points)
        compare_values(folder / EVALUATION_FILE, figures.model_dump(mode="json"), expected.model_dump(mode="json"))
        checked.append(f"figures of {EVALUATION_FILE}")
        if record.protocol and record.endpoint:
            judged = judge_endpoint(record.protocol, expected)
            held = record.endpoint.model_dump(mode="json")
            compare_values(folder / EVALUATION_FILE, held, judged.model_dump(mode="json"), "endpoint")
            checked.append("endpoint")
    if record.cases:
        found = read_recalibration(folder)
        again = recalibrate(answers.predictions, record.model.points, record.cases, draws=found.draws + found.left_out)
        compare_values(folder / RECALIBRATION, found.model_dump(mode="json"), again.model_dump(mode="json"))
        checked.append(RECALIBRATION)
    with TemporaryDirectory(prefix="fusionln-verify-") as name, without_figures():
        write_evaluation(folder, Path(name))
        checked.append(compare_files(folder, Path(name)))
    return ", ".join(checked)
