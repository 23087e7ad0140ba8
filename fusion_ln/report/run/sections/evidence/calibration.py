"""Calibration: predicted probability against observed share, as the model gave it and calibrated."""

from collections.abc import Callable, Sequence

import pandas as pd

from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.evaluation.probabilities.calibration import calibration_by_class, reliability
from fusion_ln.evaluation.probabilities.recalibration import FEWEST_CALIBRATED, calibration_curves, recalibration
from fusion_ln.metrics import METRICS, score
from fusion_ln.predictions import Predictions
from fusion_ln.report.kit.figures import Plate, calibration_axes, draw_frequencies, draw_shares
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import MUTED
from fusion_ln.report.run.figures import colour_of, make_plate
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results, columns_first, stack
from fusion_ln.report.run.section import Report, Section

OF_NODES = WITHOUT_PATIENTS = True
UNCALIBRATED, CALIBRATED = "raw", "calibrated"
MOST_DRAWS = 1000  # of the bootstrap behind slopes and curves
HEADINGS = {
    "ece": "Calibration error",
    "brier": "Brier score",
    "within_bins": "Within the bins",
    "auc_ovr": "AUC",
    "patients": "Inner patients",
}
CALIBRATION_METRICS = ("auc_ovr", "accuracy", "log_loss", "brier", "ece")


def build(report: Report) -> Section:
    """Build the section; without inner validation predictions it holds the reason alone."""
    results = report.results
    models = [model for model in results.models if model.calibrated]
    shown = [model for model in results.headline if model.calibrated]
    draws = min(results.n_resamples, MOST_DRAWS)
    slopes = Sheet(
        "calibration_slopes",
        "Calibration intercept and slope",
        by_stage(shown, recalibration),
        {"n": "Patients of the class"},
    )
    curves = by_stage(shown, lambda predictions: calibration_curves(predictions, n_resamples=draws))
    observed = by_stage(models, reliability)
    scores = Sheet("calibrated_scores", "Scores before and after", by_stage(models, scores_of), HEADINGS)
    maps = Sheet("calibration_maps", "Map of each fold", maps_of(models), HEADINGS)
    return Section(
        place=80,
        anchor="calibration",
        link="Calibration",
        title="Calibration",
        subtitle="do probabilities mean what they say?",
        template="evidence/calibration.html",
        plates=[
            draw_calibration(results, observed, curves, name)
            for name in (results.cohort.classes if results.main.calibrated else ())
        ],
        sheets=[
            scores,
            slopes,
            maps,
            Sheet("reliability", "Predicted probability and observed share", observed),
            Sheet("calibration_curves", "Smooth calibration curves", curves),
            Sheet("calibration", "Parts of the Brier score", by_stage(models, calibration_parts), HEADINGS),
        ],
        left_out=[model.uncalibrated for model in results.models if not model.calibrated][-1:],
        values={
            "scores": scores.only(model=[model.name for model in shown]) if shown else None,
            "maps": brief_maps(maps, results.main) if results.main.calibrated else None,
            "stacked": [model.title for model in models if model.is_stacked],
            "least": FEWEST_CALIBRATED,
            "caveat": next(metric.caveat for metric in METRICS if metric.name == "ece"),
        },
    )


def by_stage(models: Sequence[Model], describe: Callable[[Predictions], pd.DataFrame]) -> pd.DataFrame:
    """Describe calibrated models as they were and calibrated: ``model, probabilities`` and the columns of a table."""
    tables = []
    for model in models:
        assert model.calibrated
        for stage, predictions in ((UNCALIBRATED, model.predictions), (CALIBRATED, model.calibrated.predictions)):
            table = describe(predictions).assign(model=model.name, probabilities=stage)
            tables.append(columns_first(table, "model", "probabilities"))
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


def scores_of(predictions: Predictions) -> pd.DataFrame:
    """Make one row of the metrics that calibration may change: a map of all classes may change ranks, too."""
    found = score(predictions.labels, predictions.probs, predictions.classes)
    return pd.DataFrame({name: found[name] for name in CALIBRATION_METRICS})


def maps_of(models: Sequence[Model]) -> pd.DataFrame:
    """Make ``model, fold, patients, temperature, class, share, offset`` and a row of the map, ``from_<class>``.

    Calibrated logits = map x log probabilities (centred over the classes) + offsets.
    """
    tables = {}
    for model in models:
        assert model.calibrated
        classes, parts = model.predictions.classes, []
        for fold, found in model.calibrated.maps.items():
            part = pd.DataFrame(found.matrix, columns=[f"from_{name}" for name in classes])
            part.insert(0, "offset", found.offsets)
            part.insert(0, "share", found.shares)
            part.insert(0, "class", classes)
            parts.append(part.assign(fold=fold, patients=found.patients, temperature=found.temperature))
        tables[model.name] = columns_first(pd.concat(parts, ignore_index=True), "fold", "patients", "temperature")
    return stack(tables) if tables else pd.DataFrame()


def brief_maps(maps: Sheet, model: Model) -> Sheet:
    """Keep a model's temperature and offsets, a row per fold."""
    table = maps.table[maps.table["model"] == model.name]
    wide = table.pivot_table(index=["fold", "patients", "temperature"], columns="class", values="offset", sort=False)
    wide = wide.rename(columns="Offset, {}".format).rename_axis(columns=None).reset_index()
    return Sheet(maps.name, f"{maps.title}, {model.title}", wide, HEADINGS)


def calibration_parts(predictions: Predictions) -> pd.DataFrame:
    """Make `calibration_by_class` and a row over all classes: the metrics ``ece`` and ``brier``, the parts' sums."""
    by_class = calibration_by_class(predictions)
    scores = score(predictions.labels, predictions.probs, predictions.classes)
    parts = by_class[["reliability", "resolution", "uncertainty", "within_bins"]].sum()
    overall = {"class": ALL_CLASSES, "ece": scores["ece"][0], "brier": scores["brier"][0], **parts}
    return pd.concat([by_class, pd.DataFrame([overall])], ignore_index=True)


def draw_calibration(results: Results, bins: pd.DataFrame, curves: pd.DataFrame, of_class: str) -> Plate:
    """Draw the main model's observed share over the predicted probability of a class: calibrated, and raw thin."""
    model = results.main
    assert model.calibrated
    colour = colour_of(results, model)
    figure, axes, below = calibration_axes()
    raw, curve = (_of(curves, model.name, stage, of_class) for stage in (UNCALIBRATED, CALIBRATED))
    axes.plot(raw["predicted"], raw["observed"], label=UNCALIBRATED, color=MUTED, lw=0.9, ls=(0, (4, 2)))
    draw_shares(axes, curve, _of(bins, model.name, CALIBRATED, of_class), colour)
    axes.plot(curve["predicted"], curve["observed"], label=CALIBRATED, color=colour, lw=2)
    axes.legend(loc="upper left")
    column = model.predictions.classes.index(of_class)
    probs, events = model.calibrated.predictions.probs[:, column], model.predictions.labels == column
    draw_frequencies(below, probs, events)
    return make_plate(f"reliability_{of_class}", of_class, "", figure, results)


def _of(table: pd.DataFrame, model: str, stage: str, of_class: str) -> pd.DataFrame:
    """Select the rows of a model, a stage and a class; an empty table has none."""
    if not len(table):
        return pd.DataFrame(columns=["predicted", "observed", "ci_low", "ci_high"], dtype=float)
    rows = (table["model"] == model) & (table["probabilities"] == stage) & (table["class"] == of_class)
    return table[rows]
