"""Confusion: patients of every model by true and most probable class."""

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fusion_ln.metrics import confusion
from fusion_ln.report.kit.figures import Plate
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import INK
from fusion_ln.report.run.figures import colour_of, make_plate
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section

OF_NODES = WITHOUT_PATIENTS = True


def build(report: Report) -> Section:
    """Build the section, a matrix per model."""
    results = report.results
    return Section(
        place=60,
        anchor="confusion",
        link="Confusion",
        title="Confusion",
        subtitle="truth and most probable class",
        template="performance/confusion.html",
        plates=[draw_confusion(results, model) for model in results.models],
        sheets=[Sheet("confusion", "Truth and prediction", confusion_table(results))],
        is_open=True,
    )


def confusion_table(results: Results) -> pd.DataFrame:
    """Count patients by model, true class and predicted class."""
    rows = []
    for model in results.models:
        classes = model.predictions.classes
        counts = confusion(model.predictions.labels, model.predictions.probs, len(classes))
        rows += [
            (model.name, truth, predicted, counts[i, j])
            for i, truth in enumerate(classes)
            for j, predicted in enumerate(classes)
        ]
    return pd.DataFrame(rows, columns=["model", "truth", "predicted", "patients"])


def draw_confusion(results: Results, model: Model) -> Plate:
    """Draw patients by truth and prediction; the shade is the share of the row, so the diagonal shows recall."""
    classes = model.predictions.classes
    counts = confusion(model.predictions.labels, model.predictions.probs, len(classes))
    shares = counts / counts.sum(axis=1, keepdims=True)
    side = 0.62 * len(classes)
    figure = Figure(figsize=(side + 0.85, side + 0.75), layout="constrained")
    axes = figure.add_subplot()
    for (truth, predicted), count in np.ndenumerate(counts):
        share = shares[truth, predicted]
        face = to_rgba(colour_of(results, model), 0.04 + 0.5 * share)
        axes.add_patch(Rectangle((predicted + 0.02, truth + 0.02), 0.96, 0.96, facecolor=face, lw=0))
        weight = "bold" if truth == predicted else "normal"
        axes.text(predicted + 0.5, truth + 0.44, str(count), ha="center", va="center", fontsize=10, fontweight=weight)
        axes.text(predicted + 0.5, truth + 0.75, f"{share:.0%}", ha="center", va="center", fontsize=7)
    ticks = np.arange(len(classes)) + 0.5
    axes.set(xlim=(0, len(classes)), ylim=(len(classes), 0), aspect="equal")
    axes.set_xticks(ticks, classes, rotation=0 if max(map(len, classes)) <= 10 else 30)
    axes.set_yticks(ticks, classes, rotation=90, va="center")
    axes.tick_params(length=0, labelsize=7.5, labelcolor=INK)
    axes.set_xlabel("Predicted")
    axes.set_ylabel("Truth")
    axes.spines[:].set_visible(False)
    return make_plate(f"confusion_{model.name}", model.title, "", figure, results)
