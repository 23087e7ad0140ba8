"""Page of repeated cross-validation: what the procedure gains, beside what these trainings gained."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from fusion_ln.errors import RunError
from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.evaluation.repeats import GIVEN, LEAST_OF_CLASS, PROCEDURE, RepeatComparison, compare_repeats
from fusion_ln.metrics import PRIMARY
from fusion_ln.report.kit import style
from fusion_ln.report.kit.figures import ForestRow, Plate, draw_forest, mark_plate, start_of_axis
from fusion_ln.report.kit.page import write_page
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import LIGHT, MUTED, number, signed, signed_spread, spread
from fusion_ln.report.run.results import Results
from fusion_ln.report.seeds.reading import over_seeds
from fusion_ln.terms import FOLD, PATIENT
from fusion_ln.units import nodes_counted

GIVEN_BELOW = 0.3  # rows between the two intervals of a model


def write_repeats(out: Path, repeats: Sequence[Results], *, title: str, question: str) -> Path:
    """Compare models over repeats and write ``repeats.html`` with its figures and tables.

    Args:
        out: Folder to write into.
        repeats: Runs of each repeat, on its own folds.
        title: Heading of the page.
        question: Its question, in one sentence.

    Returns:
        Path of the page.

    Raises:
        RunError: If the repeats have other models.
        PredictionsError: See `compare_repeats`.
    """
    comparison = _read(repeats)
    first = repeats[0]
    titles = {model.name: model.title for model in comparison.models}
    with style.figure_style():
        plates = [_draw_values(comparison, first), *_draw_differences(comparison, first)]
    sheets = [
        Sheet("metrics_over_repeats", "Means over the folds of all repeats", _as_text(comparison.metrics)),
        Sheet("folds_of_repeats", "AUC of every fold", comparison.folds),
    ]
    if len(comparison.differences):
        sheets.insert(1, Sheet("differences_over_repeats", "Differences", _as_text(comparison.differences)))
    return write_page(
        out / "repeats.html",
        "repeats.html",
        plates,
        sheets,
        simulated=first.cohort.simulated,
        nodes=nodes_counted(first.cohort.patients[PATIENT].tolist()),
        title=title,
        question=question,
        cohort=first.cohort,
        comparison=comparison,
        main=_main(comparison),
        values=_primary(comparison.metrics).set_index("model"),
        differences=_by_reference(comparison),
        plates=plates,
        titles_of=titles,
        n_folds=int(comparison.folds[FOLD].nunique()),
        least=LEAST_OF_CLASS,
        procedure=PROCEDURE,
        given=GIVEN,
        has_fusions=any(model.is_fusion for model in comparison.models),
    )


def _read(repeats: Sequence[Results]) -> RepeatComparison:
    """Join the runs of each model over the repeats."""
    by_name = [{model.name: model for model in repeat.models} for repeat in repeats]
    for number_, models in enumerate(by_name):
        if differing := sorted(models.keys() ^ by_name[0].keys()):
            raise RunError(
                f"repeat {number_} and the first one have other models: {differing[0]} is in one of them only.",
                "Run the same heads in all repeats: give the command again.",
            )
    joined = [
        over_seeds(name, {f"repeat-{place}/{name}": models[name] for place, models in enumerate(by_name)})
        for name in by_name[0]
    ]
    return compare_repeats(joined, repeats[0].cohort.modalities)


def _main(comparison: RepeatComparison) -> str:
    """Name the model of the headline: the fusion that is best on inner validation, or the only model."""
    return (comparison.given.candidate if any(m.is_fusion for m in comparison.models) else comparison.models[0]).name


def _primary(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["metric"] == PRIMARY) & (table["class"] == ALL_CLASSES)]


def _by_reference(comparison: RepeatComparison) -> dict[str, pd.DataFrame]:
    """Select the differences in the primary metric, by model, for each reference."""
    if comparison.differences.empty:
        return {}
    rows = _primary(comparison.differences)
    return {str(name): part.set_index("model") for name, part in rows.groupby("reference", sort=False)}


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Write the values by repeat as text, for a file."""
    return table.assign(by_repeat=[" ".join(f"{value:.4f}" for value in values) for values in table["by_repeat"]])


def _draw_values(comparison: RepeatComparison, results: Results) -> Plate:
    rows = [_row(comparison, results, row, "value") for row in _primary(comparison.metrics).to_dict("records")]
    rows = [replace(row, note=f"{number(row.value)} {row.note}") for row in rows]
    figure, axes = draw_forest(rows)
    axes.set_xlim(start_of_axis(x for row in rows for x in (row.low, *row.by_seed)), 1)
    axes.set_xlabel("AUC within a held-out fold, mean over all folds")
    caption = f"Line: 95 % interval of {PROCEDURE}. Small dots: single repeats."
    return mark_plate("repeats_auc", "AUC", caption, figure, results.cohort.simulated)


def _draw_differences(comparison: RepeatComparison, results: Results) -> list[Plate]:
    plates = []
    for name, table in _by_reference(comparison).items():
        found = table.reset_index().to_dict("records")
        figure, axes = draw_forest([_row(comparison, results, row, "difference") for row in found], zero=True)
        for y, row in enumerate(found):
            ends = [row["given_low"], row["given_high"]]
            axes.plot(ends, [y + GIVEN_BELOW] * 2, color=MUTED, lw=1, solid_capstyle="butt")
        axes.set_xlabel(f"Difference in AUC; left of zero the {name} is better")
        caption = (
            f"Thick: 95 % interval of {PROCEDURE}. Thin, grey: {GIVEN}. Small dots: single repeats. Compared with: "
            f"{comparison.references[name].title}."
        )
        file = f"repeats_difference_{name}".replace(" ", "_")
        title = f"Difference to the {name}"
        plates.append(mark_plate(file, title, caption, figure, results.cohort.simulated))
    return plates


def _row(comparison: RepeatComparison, results: Results, row: Mapping[Hashable, Any], column: str) -> ForestRow:
    """Build the row of a model; the note of a difference is whole, that of a value lacks it."""
    value, low, high = row[column], row["ci_low"], row["ci_high"]
    note = f"({spread(low, high)})" if column == "value" else f"{signed(value)} ({signed_spread(low, high)})"
    model = next(m for m in comparison.models if m.name == row["model"])
    bold = {_main(comparison), *(reference.name for reference in comparison.references.values())}
    return ForestRow(
        title=model.title,
        colour=LIGHT[results.colour_of(next(m for m in results.models if m.name == model.name))],
        value=value,
        low=low if comparison.has_intervals else value,
        high=high if comparison.has_intervals else value,
        by_seed=tuple(row["by_repeat"]),
        note=note if comparison.has_intervals else note.partition("(")[0].strip(),
        fused=model.is_fusion,
        bold=model.name in bold,
    )
