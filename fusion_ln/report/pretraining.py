"""Page of a pre-training: metrics of each set on its validation patients."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from fusion_ln.decode.stored import read_stored_table
from fusion_ln.errors import RunError
from fusion_ln.evaluation.intervals import ALL_CLASSES, metric_intervals, name_columns
from fusion_ln.metrics import METRICS, PRIMARY, confusion, score
from fusion_ln.predictions import Predictions, read_predictions
from fusion_ln.records.kinds import PretrainingRecord
from fusion_ln.records.parts import CohortSummary
from fusion_ln.report.kit import style
from fusion_ln.report.kit.figures import mark_plate
from fusion_ln.report.kit.page import write_page
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import INK, LIGHT, LINE, MUTED, OTHERS, number
from fusion_ln.report.run.results import Estimate
from fusion_ln.runs import RunFolder

BAR_METRICS = {
    PRIMARY: "AUC",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "mcc": "MCC",
}
TASK_COLOURS = ("fusion", "elastic", "cdfi", "2d", *OTHERS)


@dataclass(frozen=True)
class TaskResult:
    """One set of a pre-training.

    Attributes:
        cohort: Its cohort, as recorded.
        predictions: Predictions of its validation patients.
        intervals: See `metric_intervals`; without intervals where a class has too few patients for them.
    """

    name: str
    cohort: CohortSummary
    predictions: Predictions
    intervals: pd.DataFrame
    colour: str

    def interval(self, metric: str) -> Estimate:
        """Return a metric over all classes."""
        rows = self.intervals[(self.intervals["metric"] == metric) & (self.intervals["class"] == ALL_CLASSES)]
        row = rows.iloc[0]
        return Estimate(float(row["value"]), float(row["ci_low"]), float(row["ci_high"]))


def write_pretraining_report(run: RunFolder) -> Path:
    """Write ``report.html``, ``figures/*.png`` and ``tables/*.csv`` into the folder of a finished pre-training.

    Returns:
        Path of the page.

    Raises:
        RunError: If it is not a finished pre-training, or the folder cannot be written to.
    """
    record = run.read_record()
    if not isinstance(record, PretrainingRecord) or not run.backbone.is_file():
        raise RunError(f"{run.root}: not a finished pre-training.", "Make one with `fusionln pretrain`.")
    way_out = f"Delete {run.backbone} and give the command that made it again: it pre-trains anew."
    losses = ["train_loss", "val_loss", *(f"val_loss:{task.name}" for task in record.cohort.tasks)]
    history = read_stored_table(run.history, way_out, {"epoch": "whole", **dict.fromkeys(losses, "number")})
    tasks = [_read(run, number, held) for number, held in enumerate(record.cohort.tasks)]
    simulated = record.simulated
    with style.figure_style():
        plates = {
            "bars": [mark_plate("tasks", "Every metric of every task", "", _draw_bars(tasks), simulated=simulated)],
            "roc": [mark_plate(f"roc_{t.name}", t.name, "", _draw_roc(t), simulated=simulated) for t in tasks],
            "confusion": [
                mark_plate(f"confusion_{t.name}", t.name, "", _draw_confusion(t), simulated=simulated) for t in tasks
            ],
            "learning": [
                mark_plate(
                    "learning", "Validation loss by epoch", "", _draw_learning(tasks, history), simulated=simulated
                )
            ],
        }
    return write_page(
        run.report,
        "pretraining.html",
        [each for group in plates.values() for each in group],
        [_metrics(tasks), _confusions(tasks), Sheet("learning_curves", "Losses by epoch", history)],
        simulated=simulated,
        nodes=", ".join(f"{counted} ({task.name})" for task in record.cohort.tasks if (counted := task.count_nodes())),
        name=run.name,
        record=record,
        tasks=tasks,
        plates=plates,
        metrics=[(metric.name, metric.title) for metric in METRICS if metric.shown and not metric.per_class],
    )


def _read(run: RunFolder, position: int, held: CohortSummary) -> TaskResult:
    predictions = read_predictions(run.task(held.name) / run.predictions.name)
    classes = predictions.classes
    if np.bincount(predictions.labels, minlength=len(classes)).min() > 1:
        intervals = metric_intervals(predictions)
    else:
        scores = score(predictions.labels, predictions.probs, classes)
        intervals = name_columns(tuple(scores)).assign(value=np.concatenate([*scores.values()]))
        intervals[["ci_low", "ci_high"]] = np.nan
    return TaskResult(held.name, held, predictions, intervals, TASK_COLOURS[position % len(TASK_COLOURS)])


def _metrics(tasks: list[TaskResult]) -> Sheet:
    rows = [t.intervals[["metric", "class", "value", "ci_low", "ci_high"]].assign(task=t.name) for t in tasks]
    table = pd.concat(rows, ignore_index=True)
    return Sheet("metrics", "Every metric of every task", table[["task", *table.columns.drop("task")]])


def _confusions(tasks: list[TaskResult]) -> Sheet:
    rows = []
    for task in tasks:
        classes = task.predictions.classes
        counts = confusion(task.predictions.labels, task.predictions.probs, len(classes))
        rows += [(task.name, a, b, counts[i, j]) for i, a in enumerate(classes) for j, b in enumerate(classes)]
    return Sheet("confusion", "Truth and prediction", pd.DataFrame(rows, columns=["task", "truth", "said", "patients"]))


def _draw_bars(tasks: list[TaskResult]) -> Figure:
    """Draw a group of bars per metric and a bar per task (Jiang et al. 2025, figure 3), with 95 % intervals."""
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    axes = figure.add_subplot()
    width = 0.84 / len(tasks)
    for position, task in enumerate(tasks):
        rows = [task.interval(metric) for metric in BAR_METRICS]
        x = np.arange(len(BAR_METRICS)) + (position - (len(tasks) - 1) / 2) * width
        values = np.array([row.value for row in rows])
        axes.bar(x, values, 0.9 * width, color=LIGHT[task.colour], label=task.name, alpha=0.85)
        axes.vlines(x, [row.ci_low for row in rows], [row.ci_high for row in rows], color=INK, lw=0.9)
    axes.set_xticks(range(len(BAR_METRICS)), list(BAR_METRICS.values()))
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.0)
    axes.axhline(0, color=LINE, lw=0.8)
    axes.tick_params(labelcolor=MUTED, length=0)
    axes.grid(axis="y")
    figure.legend(loc="outside upper center", ncols=min(len(tasks), 5))
    return figure


def _draw_roc(task: TaskResult) -> Figure:
    """Draw the ROC curve of each class against the rest."""
    figure, axes = _square()
    axes.plot([0, 1], [0, 1], color=LINE, lw=0.9, zorder=1)
    shades = np.linspace(1, 0.35, len(task.predictions.classes))
    for label, (of_class, shade) in enumerate(zip(task.predictions.classes, shades, strict=True)):
        x, y, _ = roc_curve(task.predictions.labels == label, task.predictions.probs[:, label])
        rows = task.intervals[(task.intervals["metric"] == "auc") & (task.intervals["class"] == of_class)]
        text = f"{of_class}\u2002{number(float(rows['value'].iloc[0]))}"
        axes.plot(x, y, color=to_rgba(LIGHT[task.colour], shade), lw=1.7, label=text)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set_xlabel("1 − specificity")
    axes.set_ylabel("Sensitivity")
    axes.tick_params(labelcolor=MUTED, length=3)
    axes.legend(loc="lower right", title="AUC", title_fontsize=7.5, alignment="right")
    return figure


def _draw_confusion(task: TaskResult) -> Figure:
    """Draw the validation patients by truth and most probable class; the shade is the share of the row."""
    classes = task.predictions.classes
    counts = confusion(task.predictions.labels, task.predictions.probs, len(classes))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = _square()
    for (truth, predicted), count in np.ndenumerate(counts):
        face = to_rgba(LIGHT[task.colour], 0.04 + 0.5 * float(shares[truth, predicted]))
        axes.add_patch(Rectangle((predicted + 0.02, truth + 0.02), 0.96, 0.96, facecolor=face, lw=0))
        weight = "bold" if truth == predicted else "normal"
        axes.text(predicted + 0.5, truth + 0.5, str(count), ha="center", va="center", fontweight=weight)
    ticks = np.arange(len(classes)) + 0.5
    axes.set(xlim=(0, len(classes)), ylim=(len(classes), 0), aspect="equal")
    axes.set_xticks(ticks, classes, rotation=0 if max(map(len, classes)) * len(classes) < 30 else 40, ha="right")
    axes.set_yticks(ticks, classes)
    axes.tick_params(length=0, labelsize=7.5, labelcolor=INK)
    axes.set_xlabel("Predicted")
    axes.set_ylabel("Truth")
    axes.spines[:].set_visible(False)
    return figure


def _draw_learning(tasks: list[TaskResult], history: pd.DataFrame) -> Figure:
    """Draw the validation loss of each task and their mean; the dot marks the epoch whose backbone was kept."""
    figure = Figure(figsize=(8.4, 2.8), layout="constrained")
    axes = figure.add_subplot()
    epochs = history["epoch"] + 1  # people count from one
    for task in tasks:
        axes.plot(
            epochs, history[f"val_loss:{task.name}"], color=LIGHT[task.colour], lw=1.1, marker=".", label=task.name
        )
    axes.plot(epochs, history["val_loss"], color=INK, lw=2, label="mean")
    best = int(history["val_loss"].argmin())
    axes.scatter(epochs.iloc[best], history["val_loss"].iloc[best], s=26, color=INK, lw=0, zorder=4)
    axes.set_xlim(0.5, epochs.max() + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Epoch")
    axes.set_ylabel("Validation loss")
    axes.set_ylim(bottom=0)
    axes.tick_params(labelcolor=MUTED, length=3)
    axes.grid(axis="y")
    figure.legend(loc="outside upper center", ncols=min(len(tasks) + 1, 6))
    return figure


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.3, 3.3), layout="constrained")
    return figure, figure.add_subplot()
