"""Comparison report of a model: its run beside the single modalities that the run reads, without their patients."""

from dataclasses import replace
from pathlib import Path

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.report.experiment import baseline_heading, fusion_heading
from fusion_ln.report.run.page import write_without_patients
from fusion_ln.report.run.reading import read_results
from fusion_ln.runs import RunFolder
from fusion_ln.settings.base import Answer

OF_FOLDS = (
    "Every figure of this page is of the models of the folds, one by one, each on the patients whom it never saw. The "
    "frozen model is {model}: no patient of the study is unseen by it, so its own figures could not be measured there. "
    "If it was chosen among several by these figures, they flatter it."
)
MODELS: dict[Answer, str] = {
    "ensemble": "the mean of these models",
    "refit": "another one, trained once more on all patients",
}


def write_comparison(page: Path, run: RunFolder, cohort: Cohort, answer: Answer) -> None:
    """Write the report of a run and its baselines as a page that leaves the study.

    Args:
        page: The file.
        run: A finished run.
        cohort: Its cohort.
        answer: What answers in the frozen model.

    Raises:
        PredictionsError: If predictions are damaged, or of too few patients for any figure.
        RunError: If a baseline is unfinished, or the page cannot be written.
    """
    found = read_results(list(dict.fromkeys([*run.baselines(), run])), cohort)
    # Names without a folder of the study, and no links to pages that stay there.
    models = tuple(replace(m, name=m.what, group="", explanation=None, audit=None) for m in found.models)
    heading = fusion_heading(cohort) if found.fusions else baseline_heading(cohort, found.main.modalities[0])
    note = OF_FOLDS.format(model=MODELS[answer])
    write_without_patients(
        page, replace(found, models=models), title=heading.title, question=heading.question, note=note
    )
