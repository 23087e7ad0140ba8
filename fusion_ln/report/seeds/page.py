"""Page of an experiment over its seeds."""

from pathlib import Path

import pandas as pd

from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.evaluation.repeats import GIVEN
from fusion_ln.evaluation.seeds import DifferenceOverSeeds, MeanOverSeeds, ModelOverSeeds
from fusion_ln.evaluation.swaps import name_test
from fusion_ln.metrics import PRIMARY
from fusion_ln.report.kit import style
from fusion_ln.report.kit.figures import ForestRow, Plate, draw_forest, mark_plate, start_of_axis
from fusion_ln.report.kit.page import write_page
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import LIGHT, number, signed, signed_spread, spread
from fusion_ln.report.run.results import Results
from fusion_ln.report.seeds.reading import SeedResults, compare_seeds
from fusion_ln.terms import PATIENT
from fusion_ln.units import nodes_counted


def write_seeds(out: Path, results: Results, *, title: str, question: str) -> Path:
    """Compare models over their seeds and write ``seeds.html`` with its figures and tables.

    A figure is the mean over the seeds; its interval takes the trainings as given, so that it speaks of the patients,
    while the figures by seed speak of the training.

    Args:
        out: Folder to write into.
        results: Runs of an experiment, by backbone, weights and seed.
        title: Heading of the page.
        question: Question of the experiment, in one sentence.

    Returns:
        Path of the page.

    Raises:
        RunError: If the models were not all trained with the same seeds.
    """
    seeds, cohort, weak = compare_seeds(results), results.cohort, results.weak_class
    comparison = seeds.comparison
    plates = []
    with style.figure_style():
        for metric, of_class, heading in ((PRIMARY, ALL_CLASSES, "AUC"), ("recall", weak, f"Recall of {weak}")):
            plates.append(_draw_values(seeds, metric, of_class, heading))
            plates += [_draw_differences(seeds, name, metric, of_class, heading) for name in comparison.references]
    by_subset = comparison.subsets.rename_axis("model").reset_index()
    return write_page(
        out / "seeds.html",
        "seeds.html",
        plates,
        [
            Sheet("metrics_over_seeds", "Means over the seeds", _join_seeds(comparison.metrics)),
            Sheet("differences_over_seeds", "Differences of the means", _join_seeds(comparison.differences)),
            Sheet("subsets_over_seeds", "AUC by the pictures given", by_subset),
        ],
        simulated=cohort.simulated,
        nodes=nodes_counted(cohort.patients[PATIENT].tolist()),
        title=title,
        question=question,
        cohort=cohort,
        seeds=seeds,
        comparison=comparison,
        weak=weak,
        plates=plates,
        attainable=cohort.details.attainable.cohort,
        primary=PRIMARY,
        given=GIVEN,
        test=name_test(len(next(iter(comparison.aligned.values()))[0].labels)),
    )


def _join_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Write the values by seed as text, for a file."""
    return table.assign(by_seed=[" ".join(f"{value:.4f}" for value in values) for values in table["by_seed"]])


def _draw_values(seeds: SeedResults, metric: str, of_class: str, heading: str) -> Plate:
    rows = []
    for model in seeds.comparison.models:
        mean = seeds.comparison.value(model, metric, of_class)
        note = f"{number(mean.value)} ({spread(mean.ci_low, mean.ci_high)})"
        tick = seeds.attainable(model) if metric == PRIMARY else None
        rows.append(_row(seeds, model, mean, mean.value, note, tick=tick))
    figure, axes = draw_forest(rows)
    axes.set_xlim(start_of_axis(x for row in rows for x in (row.low, *row.by_seed)), 1.0)
    axes.set_xlabel(f"{heading}, mean of {seeds.comparison.n_seeds} seeds, 95 % interval")
    caption = f"Large: mean over the seeds. Line: its 95 % interval {GIVEN}. Small dots: single seeds."
    if any(row.tick for row in rows):
        caption += " Upright tick: the attainable AUC of these pictures."
    return mark_plate(f"seeds_{metric}", heading, caption, figure, seeds.results.cohort.simulated)


def _draw_differences(seeds: SeedResults, reference: str, metric: str, of_class: str, heading: str) -> Plate:
    rows = []
    for model in seeds.comparison.models:
        if gap := seeds.comparison.difference(model, reference, metric, of_class):
            note = f"{signed(gap.difference)} ({signed_spread(gap.ci_low, gap.ci_high)})"
            rows.append(_row(seeds, model, gap, gap.difference, note))
    figure, axes = draw_forest(rows, zero=True)
    axes.set_xlabel(f"Difference; left of zero the {reference} is better")
    caption = f"Same patients, folds and seeds. Compared with: {seeds.comparison.references[reference].title}."
    title = f"{heading}: difference to the {reference}"
    simulated = seeds.results.cohort.simulated
    return mark_plate(f"seeds_{metric}_{reference}".replace(" ", "_"), title, caption, figure, simulated)


def _row(
    seeds: SeedResults,
    model: ModelOverSeeds,
    interval: MeanOverSeeds | DifferenceOverSeeds,
    value: float,
    note: str,
    *,
    tick: float | None = None,
) -> ForestRow:
    return ForestRow(
        title=model.title,
        colour=LIGHT[seeds.colour(model)],
        value=value,
        low=interval.ci_low,
        high=interval.ci_high,
        by_seed=interval.by_seed,
        note=note,
        fused=model.is_fusion,
        bold=model in (seeds.comparison.candidate, *seeds.comparison.references.values()),
        tick=tick,
    )
