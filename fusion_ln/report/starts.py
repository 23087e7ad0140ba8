"""Page on starting weights: each modality's baselines from two starts, on the same patients, folds and seeds."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.evaluation.repeats import GIVEN
from fusion_ln.evaluation.starts import Baseline, GainOfStart, compare_weights
from fusion_ln.evaluation.swaps import name_test
from fusion_ln.predictions import read_predictions
from fusion_ln.records.kinds import BaselineRecord
from fusion_ln.report.kit import style
from fusion_ln.report.kit.figures import ForestRow, draw_forest, mark_plate
from fusion_ln.report.kit.page import write_page
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import LIGHT, modality_colour, signed, signed_spread
from fusion_ln.runs import RunFolder, RunKey
from fusion_ln.terms import PATIENT, modality_title
from fusion_ln.units import nodes_counted


def write_ablation(out: Path, runs: list[RunFolder], cohort: Cohort, *, title: str, question: str) -> Path:
    """Compare the baselines of several starting weights and write ``ablation.html`` with its figure and table.

    The difference is that of the mean AUC over the seeds; its interval takes the trainings as given, so it speaks of
    the patients and the differences by seed speak of the training.

    Args:
        out: Folder to write into.
        runs: Runs of the cohort, of which the baselines are compared. The weights of the first are the reference.
        cohort: Their cohort.
        title: Heading of the page.
        question: Question of the experiment, in one sentence.

    Returns:
        Path of the page.

    Raises:
        RunError: If the baselines of two starts differ in seeds or in more than their weights.
        PredictionsError: If their patients or folds differ.
    """
    gains = compare_weights([_read(run, r) for run in runs if isinstance(r := run.read_record(), BaselineRecord)])
    with style.figure_style():
        figure = mark_plate("pretraining", "Gain in AUC", "", _draw(gains, cohort), simulated=cohort.simulated)
    table = pd.DataFrame([asdict(g) | {"by_seed": " ".join(f"{d:.4f}" for d in g.by_seed)} for g in gains])
    starts = dict.fromkeys(f"{g.weights}, {g.backbone}" for g in gains)
    of_start = {start: [g.by_seed for g in gains if f"{g.weights}, {g.backbone}" == start] for start in starts}
    return write_page(
        out / "ablation.html",
        "ablation.html",
        [figure],
        [Sheet("pretraining", "Gain in AUC", table)],
        simulated=cohort.simulated,
        nodes=nodes_counted(cohort.patients[PATIENT].tolist()),
        title=title,
        question=question,
        cohort=cohort,
        plate=figure,
        gains=gains,
        given=GIVEN,
        test=name_test(*(gain.patients for gain in gains)),
        means={start: np.mean(rows, axis=0).tolist() for start, rows in of_start.items()},
    )


def _read(run: RunFolder, record: BaselineRecord) -> Baseline:
    settings, key = record.settings, RunKey.of_record(record, run.name)
    fit = settings.fit.model_dump(mode="json", exclude={"backbone", "weights"})
    others = tuple(sorted({**fit, "protocol": settings.protocol}.items()))
    return Baseline(key.backbone, settings.modality, key.weights, key.seed, others, read_predictions(run.predictions))


def _draw(gains: list[GainOfStart], cohort: Cohort) -> Figure:
    """Draw the gain of each modality; small dots are the seeds."""
    several = len({(gain.backbone, gain.weights) for gain in gains}) > 1
    starts = [f" · {gain.backbone}, {gain.weights}" if several else "" for gain in gains]
    rows = [
        ForestRow(
            title=modality_title(gain.modality) + start,
            colour=LIGHT[modality_colour(gain.modality, cohort.modalities)],
            value=gain.difference,
            low=gain.ci_low,
            high=gain.ci_high,
            by_seed=gain.by_seed,
            note=f"{signed(gain.difference)} ({signed_spread(gain.ci_low, gain.ci_high)})",
        )
        for gain, start in zip(gains, starts, strict=True)
    ]
    figure, axes = draw_forest(rows, zero=True)
    axes.set_xlabel("Difference in AUC; right of zero the other start is better")
    return figure
