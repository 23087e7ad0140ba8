"""Page of a learning curve: AUC by the number of training patients, and what more patients would buy."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import RunError
from fusion_ln.evaluation.planning.learning import FEWEST_PARTS, FURTHER, LearningCurve, learning_curve
from fusion_ln.report.kit import style
from fusion_ln.report.kit.figures import NARROW, WIDE, Plate, mark_plate
from fusion_ln.report.kit.page import write_page
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import LIGHT, signed_spread
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results

TWICE = 2.0  # times today's patients: what the page leads with


@dataclass(frozen=True)
class ModelCurve:
    """A model of the whole cohort with its learning curve."""

    model: Model
    curve: LearningCurve

    @property
    def further(self) -> pd.DataFrame:
        """The extrapolation to `FURTHER`."""
        return self.curve.extrapolate(self.curve.patients[-1] * np.array(FURTHER)).assign(times=FURTHER)

    @property
    def twice(self) -> Mapping[str, float]:
        """The row of ``further`` for twice as many patients."""
        return dict(self.further.set_index("times").loc[TWICE])


def write_learning_curve(out: Path, parts: Mapping[float, Results], *, title: str, question: str) -> Path:
    """Write ``learning_curve.html`` with its figure and tables.

    Args:
        out: Folder to write into.
        parts: Runs by the part of each fold's training patients that they were trained on; 1 is the whole.
        title: Heading of the page.
        question: Its question, in one sentence.

    Returns:
        Path of the page.

    Raises:
        RunError: If the parts have other models.
    """
    whole = parts[1.0]
    counts = {fraction: training_patients(results.cohort) for fraction, results in parts.items()}
    curves = [_curve_of(model, parts, counts) for model in whole.models]
    shown = [curve for curve in curves if curve.model in whole.headline]
    points = [curve.curve.points().assign(part=sorted(parts)) for curve in curves]
    extrapolated = [curve.further for curve in curves]
    names = [curve.model.name for curve in curves]
    with style.figure_style():
        plate = _draw(shown, whole)
    return write_page(
        out / "learning_curve.html",
        "learning_curve.html",
        [plate],
        [
            Sheet("learning_curve", "AUC by training patients", _stack(names, points)),
            Sheet("learning_curve_extrapolated", "With more patients", _stack(names, extrapolated)),
        ],
        simulated=whole.cohort.simulated,
        title=title,
        question=question,
        cohort=whole.cohort,
        curves=curves,
        main=next(curve for curve in curves if curve.model is whole.main),
        parts=sorted(parts),
        fewest=FEWEST_PARTS,
        plate=plate,
        verdict=_say_twice(next(curve for curve in curves if curve.model is whole.main)),
    )


def training_patients(cohort: Cohort) -> float:
    """Count the patients that a fold learns from, inner validation among them: the mean over the folds."""
    return float(np.mean([sum(map(len, cohort.training_part(fold))) for fold in range(cohort.n_folds)]))


def _curve_of(model: Model, parts: Mapping[float, Results], counts: Mapping[float, float]) -> ModelCurve:
    held = {}
    for fraction, results in parts.items():
        found = next((other for other in results.models if other.name == model.name), None)
        if found is None:
            raise RunError(
                f"{model.name}: not trained on the part {fraction:g} of the patients.", "Give the command again."
            )
        held[counts[fraction]] = found.predictions
    return ModelCurve(model, learning_curve(held))


def _say_twice(curve: ModelCurve) -> str:
    """Say what twice the patients would buy, as far as the interval allows."""
    row = curve.twice
    if not curve.curve.has_interval:
        return f"would buy {row['gain']:.3f} of AUC by the curve, without an interval: this is a guess"
    gain = f"{signed_spread(row['gain_low'], row['gain_high'])}"
    if row["gain_low"] <= 0 < row["gain_high"] and row["gain_high"] >= 0.01:
        return f"may buy between nothing and {row['gain_high']:.3f} of AUC ({gain}): this curve does not tell"
    if row["gain_high"] < 0.01:
        return f"would buy next to nothing ({gain} of AUC): the curve is flat"
    return f"would buy {row['gain']:.3f} of AUC ({gain})"


def _stack(names: list[str], tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([table.assign(model=name) for name, table in zip(names, tables, strict=True)], ignore_index=True)[
        ["model", *tables[0].columns]
    ]


def _draw(curves: list[ModelCurve], results: Results) -> Plate:
    """Draw the AUC of each part with its interval, the fitted curve, and its extrapolation with its band."""
    figure = Figure(figsize=(1.6 * WIDE, NARROW), layout="constrained")
    axes = figure.add_subplot()
    for each in curves:
        curve, colour = each.curve, LIGHT[results.colour_of(each.model)]
        points, today = curve.points(), curve.patients[-1]
        along = np.geomspace(curve.patients[0], FURTHER[-1] * today, 120)
        drawn = curve.extrapolate(along)
        seen = along <= today
        axes.plot(along[seen], drawn["auc"][seen], color=colour, lw=1.6, label=each.model.title)
        axes.plot(along[~seen], drawn["auc"][~seen], color=colour, lw=1.4, ls=(0, (4, 3)))
        axes.fill_between(along[~seen], drawn["ci_low"][~seen], drawn["ci_high"][~seen], color=colour, alpha=0.12, lw=0)
        axes.vlines(points["patients"], points["ci_low"], points["ci_high"], color=colour, lw=2, alpha=0.5)
        axes.scatter(
            points["patients"], points["auc"], color=colour, s=34, lw=0, zorder=3,
            marker="D" if each.model.is_fusion else "o",
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    ticks = [*curves[0].curve.patients, *(TWICE ** np.arange(1, 3) * curves[0].curve.patients[-1])]
    axes.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set_ylim(top=1)
    axes.set_xlabel("Training patients of a fold, inner validation among them")
    axes.set_ylabel("AUC")
    axes.legend(loc="lower right")
    caption = (
        "Dots: trained on nested parts of each fold's training patients; lines: 95 % intervals given these trainings. "
        "Dashed: the inverse power law beyond today's patients"
        + (", with the band of its 95 % intervals." if curves[0].curve.has_interval else ", without an interval.")
    )
    return mark_plate("learning_curve", "AUC by training patients", caption, figure, results.cohort.simulated)
