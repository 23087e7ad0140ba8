"""The page on what holds over the seeds of an experiment."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.metrics import PRIMARY
from fusion_ln.report.kit import style
from fusion_ln.report.kit.figures import ForestRow, Plate, draw_forest, mark_plate
from fusion_ln.report.kit.page import write_page
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import LIGHT, number, signed, signed_spread, spread
from fusion_ln.report.run.results import Results
from fusion_ln.report.seeds.comparison import ModelOverSeeds, SeedComparison, build_ladder


def write_seeds(out: Path, results: Results, *, title: str, question: str) -> Path:
    """Compare models over their seeds and write ``seeds.html`` with its figures and tables.

    A figure is the mean over the seeds; its interval resamples the patients, the same draw for all models and seeds, so
    that it speaks of the patients, while the figures by seed speak of the training.

    Args:
        out: Where to write.
        results: Of runs with a folder ``seed-<seed>`` in the path of each.
        title: Heading of the page.
        question: What was asked, in one sentence.

    Returns:
        Path of the page.

    Raises:
        RunError: If the models were not all trained with the same seeds.
    """
    ladder, cohort, weak = build_ladder(results), results.cohort, results.weak_class
    plates = []
    with style.figure_style():
        for metric, of_class, what in ((PRIMARY, ALL_CLASSES, "AUC"), ("recall", weak, f"Recall of {weak}")):
            plates.append(_draw_values(ladder, metric, of_class, what))
            plates += [_draw_differences(ladder, each, metric, of_class, what) for each in ladder.references]
    return write_page(
        out / "seeds.html",
        "seeds.html",
        plates,
        [
            Sheet("metrics_over_seeds", "Means over the seeds", _spelled(ladder.metrics)),
            Sheet("differences_over_seeds", "Differences of the means", _spelled(ladder.differences)),
            Sheet("subsets_over_seeds", "AUC by the pictures given", ladder.subsets.rename_axis("model").reset_index()),
        ],
        simulated=cohort.simulated,
        title=title,
        question=question,
        cohort=cohort,
        ladder=ladder,
        weak=weak,
        plates=plates,
        attainable=cohort.details.get("attainable", {}).get("cohort", {}),
        macro=PRIMARY,
    )


def _spelled(table: pd.DataFrame) -> pd.DataFrame:
    """For a file: the values by seed as text."""
    return table.assign(by_seed=[" ".join(f"{value:.4f}" for value in values) for values in table["by_seed"]])


def _draw_values(ladder: SeedComparison, metric: str, of_class: str, what: str) -> Plate:
    found = [(rung, ladder.value(rung, metric, of_class)) for rung in ladder.rungs]
    rows = [
        _row(
            ladder,
            rung,
            row,
            row.value,
            f"{number(row.value)} ({spread(row.ci_low, row.ci_high)})",
            tick=ladder.attainable(rung) if metric == PRIMARY else None,
        )
        for rung, row in found
    ]
    figure, axes = draw_forest(rows)
    axes.set_xlim(np.floor(20 * (min(row.low for row in rows) - 0.01)) / 20, 1.0)
    axes.set_xlabel(f"{what}, mean of {ladder.seeds} seeds, 95 % interval")
    caption = "Large: mean over the seeds. Line: its 95 % patient-bootstrap interval. Small dots: single seeds."
    if any(row.tick for row in rows):
        caption += " Upright tick: what the pictures allow."
    return mark_plate(f"seeds_{metric}", what, caption, figure, ladder.results.cohort.simulated)


def _draw_differences(ladder: SeedComparison, reference: str, metric: str, of_class: str, what: str) -> Plate:
    found = [(rung, ladder.difference(rung, reference, metric, of_class)) for rung in ladder.rungs]
    rows = [
        _row(
            ladder,
            rung,
            row,
            row.difference,
            f"{signed(row.difference)} ({signed_spread(row.ci_low, row.ci_high)})",
        )
        for rung, row in found
        if row is not None
    ]
    figure, axes = draw_forest(rows, zero=True)
    axes.set_xlabel(f"Difference; left of zero the {reference} is better")
    caption = f"Same patients, folds and seeds. Compared with: {ladder.references[reference].title}."
    title = f"{what}: difference to the {reference}"
    simulated = ladder.results.cohort.simulated
    return mark_plate(f"seeds_{metric}_{reference}".replace(" ", "_"), title, caption, figure, simulated)


def _row(
    ladder: SeedComparison, rung: ModelOverSeeds, row: Any, value: float, note: str, *, tick: float | None = None
) -> ForestRow:
    model = rung.models[0]
    return ForestRow(
        title=rung.title,
        colour=LIGHT[ladder.results.colour_of(model)],
        value=value,
        low=row.ci_low,
        high=row.ci_high,
        by_seed=tuple(row.by_seed),
        note=note,
        fused=model.is_fusion,
        bold=rung in (ladder.candidate, *ladder.references.values()),
        tick=tick,
    )
