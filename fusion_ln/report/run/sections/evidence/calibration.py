"""Calibration: predicted probability against observed share, before and after temperature scaling."""

from collections.abc import Callable, Mapping

import pandas as pd
from matplotlib.figure import Figure

from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.evaluation.probabilities.calibration import calibration_by_class, reliability, scale_by_fold
from fusion_ln.metrics import METRICS, score
from fusion_ln.predictions import Predictions
from fusion_ln.report.kit.figures import NARROW, Plate
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import LINE, MUTED
from fusion_ln.report.run.figures import colour_of, make_plate
from fusion_ln.report.run.results import Results, columns_first
from fusion_ln.report.run.section import Report, Section, attempt

BEFORE, AFTER = "before scaling", "after scaling"
HEADINGS = {"ece": "Calibration error", "brier": "Brier score", "within_bins": "Within the bins"}
Scaled = Mapping[str, tuple[Predictions, dict[int, float]]]


def build(report: Report) -> Section:
    """Build the section; without inner validation predictions it holds the reason alone."""
    results, reasons = report.results, list[str]()
    scaled = scale_models(results, reasons)
    observed = by_stage(results, scaled, reliability)
    errors = Sheet(
        "calibration",
        "Calibration error and the parts of the Brier score",
        by_stage(results, scaled, calibration_parts),
        HEADINGS,
    )
    classes = results.cohort.classes if results.main.name in scaled else ()
    return Section(
        place=80,
        anchor="calibration",
        link="Calibration",
        title="Calibration",
        subtitle="do probabilities mean what they say?",
        template="calibration.html",
        plates=[draw_reliability(results, observed, name) for name in classes],
        sheets=[
            Sheet("reliability", "Predicted probability and observed share", observed),
            errors,
            Sheet("temperatures", "Temperature of each fold", temperatures(scaled)),
        ],
        left_out=reasons,
        values={
            "overall": errors.only(class_=ALL_CLASSES) if scaled else None,
            "caveat": next(metric.caveat for metric in METRICS if metric.name == "ece"),
        },
    )


def scale_models(results: Results, reasons: list[str]) -> Scaled:
    """Scale every model's predictions by the temperature that each fold's inner validation teaches.

    Returns:
        By model: its scaled predictions and each fold's temperature. Models that cannot be scaled are absent, and
        ``reasons`` holds the last one's.
    """
    found = {}
    for model in results.models:
        if model.inner is None:
            reasons[:] = [f"{model.title} has no inner validation predictions to learn from"]
        elif scaled := attempt(reasons, scale_by_fold, model.predictions, model.inner):
            found[model.name] = scaled
    return found


def by_stage(results: Results, scaled: Scaled, describe: Callable[[Predictions], pd.DataFrame]) -> pd.DataFrame:
    """Describe every scaled model before and after scaling: ``model, stage`` and the columns of ``describe``."""
    tables = []
    for model in results.models:
        if model.name in scaled:
            for stage, predictions in ((BEFORE, model.predictions), (AFTER, scaled[model.name][0])):
                table = describe(predictions).assign(model=model.name, stage=stage)
                tables.append(columns_first(table, "model", "stage"))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def temperatures(scaled: Scaled) -> pd.DataFrame:
    """Make ``model`` and the temperature of each fold; above 1 where the model was too sure."""
    return pd.DataFrame(
        [{"model": name, **{f"fold {k}": t for k, t in found.items()}} for name, (_, found) in scaled.items()]
    )


def calibration_parts(predictions: Predictions) -> pd.DataFrame:
    """Make `calibration_by_class` and a row over all classes: the metrics ``ece`` and ``brier``, the parts' sums."""
    by_class = calibration_by_class(predictions)
    scores = score(predictions.labels, predictions.probs, predictions.classes)
    parts = by_class[["reliability", "resolution", "uncertainty", "within_bins"]].sum()
    overall = {"class": ALL_CLASSES, "ece": scores["ece"][0], "brier": scores["brier"][0], **parts}
    return pd.concat([by_class, pd.DataFrame([overall])], ignore_index=True)


def draw_reliability(results: Results, table: pd.DataFrame, of_class: str) -> Plate:
    """Draw the main model's observed share over the predicted probability of a class, before and after scaling."""
    model = results.main
    own = table[(table["model"] == model.name) & (table["class"] == of_class)]
    figure = Figure(figsize=(NARROW, NARROW + 0.1), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=LINE, lw=0.9, zorder=1)
    looks = {BEFORE: (MUTED, "none", (0, (3, 1.5))), AFTER: (colour_of(results, model),) * 2 + ("-",)}
    for stage, (colour, face, style) in looks.items():
        bins = own[own["stage"] == stage]
        if stage == AFTER:
            axes.vlines(bins["predicted"], bins["ci_low"], bins["ci_high"], color=colour, lw=2.2, alpha=0.35)
        axes.plot(
            bins["predicted"], bins["observed"], color=colour, lw=1.1, ls=style, marker="o", ms=4, mfc=face, label=stage
        )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set_xlabel("Predicted probability")
    axes.set_ylabel("Observed share")
    axes.tick_params(labelcolor=MUTED, length=3)
    axes.legend(loc="upper left")
    return make_plate(f"reliability_{of_class}", of_class, "", figure, results)
