"""The figures of a report, one panel each, so that a page can set them side by side or one below the other.

Every function draws inside `style.figure_style` and returns a figure of its own; Matplotlib's global state is not
touched. Models keep their colour from figure to figure: each modality its own, fusion always the accent.
"""

import re
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.metrics import confusion
from fusion_ln.report.results import MACRO, Model, Results
from fusion_ln.report.style import CARD, INK, LIGHT, LINE, MUTED, number, signed, signed_spread, spread
from fusion_ln.terms import SIMULATED

WIDE, NARROW = 4.1, 3.3  # inches
ROW = 0.46  # inches per model
TEXT_ABOVE = 0.3  # rows between a model's name and its interval
DASHES = ((0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))  # of the fusions beside the headline's


@dataclass(frozen=True)
class Plate:
    """A figure with what stands around it.

    Attributes:
        name: Of its PNG file.
        title: A few words; also what a screen reader says.
        caption: What is to be seen, in a sentence or two; may be empty.
        figure: The figure.
    """

    name: str
    title: str
    caption: str
    figure: Figure


def draw_auc(results: Results, models: tuple[Model, ...], name: str = "auc") -> Plate:
    """AUC of the models with its interval and, on a phantom, the attainable one."""
    figure, axes = _rows(models, results)
    ceilings = []
    for y, model in enumerate(models):
        row = results.interval(model, MACRO)
        _interval(axes, y, row.value, row.ci_low, row.ci_high, results, model)
        _note(axes, y, f"{number(row.value)} ({spread(row.ci_low, row.ci_high)})", bold=model in results.headline)
        if found := results.attainable(model):
            ceilings.append(found["cohort"])
            axes.plot([ceilings[-1]] * 2, [y - 0.17, y + 0.17], color=INK, lw=1.8, solid_capstyle="butt", zorder=4)
    lows = [results.interval(m, MACRO).ci_low for m in models]
    axes.set_xlim(np.floor(20 * (min(lows) - 0.01)) / 20, 1.0)
    axes.set_xlabel("AUC (mean of each class against the rest), 95 % interval")
    caption = "Dot: AUC on held-out patients. Line: its 95 % interval."
    if ceilings:
        caption += " Upright tick: the AUC attainable from what these pictures show, known because they are simulated."
    title = "AUC of every model" if models == results.models else "AUC"
    return _plate(name, title, caption, figure, results)


def draw_differences(results: Results, metric: str, of_class: str, what: str) -> Plate:
    """Forest plot: each fusion minus the best single modality."""
    figure, axes = _rows(results.fusions, results)
    axes.axvline(0, color=INK, lw=0.9, zorder=1)
    for y, model in enumerate(results.fusions):
        row = results.difference(model, metric, of_class)
        _interval(axes, y, row.difference, row.ci_low, row.ci_high, results, model)
        text = f"{signed(row.difference)} ({signed_spread(row.ci_low, row.ci_high)})"
        _note(axes, y, text, bold=model == results.fusion)
    reach = 1.08 * max(abs(x) for x in axes.dataLim.intervalx) or 0.01
    axes.set_xlim(min(-reach / 4, 1.08 * axes.dataLim.x0), max(reach / 4, 1.08 * axes.dataLim.x1))
    axes.set_xlabel("Difference; right of zero the fusion is better")
    assert results.best_single is not None
    name = "_".join(["difference", metric, *([of_class] if of_class != ALL_CLASSES else [])])
    caption = f"Same patients for both models; 95 % patient-bootstrap interval. Reference: {results.best_single.title}."
    return _plate(name, f"Difference in {what}", caption, figure, results)


def draw_folds(results: Results) -> Plate:
    """AUC of every held-out fold."""
    figure, axes = _rows(results.models, results)
    for y, model in enumerate(results.models):
        folds = model.auc_by_fold().dropna()
        axes.scatter(folds, [y] * len(folds), s=26, color=_colour(results, model), alpha=0.6, lw=0, zorder=3)
        axes.plot([folds.mean()] * 2, [y - 0.15, y + 0.15], color=_colour(results, model), lw=2, zorder=4)
        _note(axes, y, f"{number(folds.min(), 2)} to {number(folds.max(), 2)}")
    axes.set_xlim(right=1.0)
    axes.set_xlabel("AUC (mean of each class against the rest)")
    return _plate("auc_by_fold", "AUC by fold", "Dot: one held-out fold. Line: mean of the folds.", figure, results)


def draw_roc(results: Results, of_class: str) -> Plate:
    """ROC curves of one class against the rest: the headline's models drawn out, the other fusions beside them."""
    figure = Figure(figsize=(NARROW, NARROW + 0.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=LINE, lw=0.9, zorder=1)
    others = [m for m in results.fusions if m not in results.headline]
    for model in [*results.headline, *others]:
        shown = model.predictions
        label = shown.classes.index(of_class)
        x, y, _ = roc_curve(shown.labels == label, shown.probs[:, label])
        main = model in results.headline
        axes.plot(
            x,
            y,
            color=_colour(results, model),
            lw=1.9 if main else 1.0,
            alpha=1 if main else 0.75,
            ls="-" if main else DASHES[others.index(model) % len(DASHES)],
            label=f"{_short(model)}\u2002{number(results.interval(model, 'auc', of_class).value)}",
            zorder=3 if main else 2,
        )
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set_xlabel("1 − specificity")
    axes.set_ylabel("Sensitivity")
    axes.tick_params(labelcolor=MUTED, length=3)
    axes.legend(loc="lower right", title="AUC", title_fontsize=7.5, alignment="right", handlelength=1.8)
    return _plate(f"roc_{of_class}", f"{of_class} against the rest", "", figure, results)


def draw_confusion(results: Results, model: Model) -> Plate:
    """Patients by truth and prediction; the shade is the share of the row, so the diagonal shows recall."""
    classes = model.predictions.classes
    counts = confusion(model.predictions.labels, model.predictions.probs, len(classes))
    shares = counts / counts.sum(axis=1, keepdims=True)
    side = 0.62 * len(classes)
    figure = Figure(figsize=(side + 0.85, side + 0.75), layout="constrained")
    axes = figure.add_subplot()
    for (truth, said), count in np.ndenumerate(counts):
        share = shares[truth, said]
        face = to_rgba(_colour(results, model), 0.04 + 0.5 * share)
        axes.add_patch(Rectangle((said + 0.02, truth + 0.02), 0.96, 0.96, facecolor=face, lw=0))
        weight = "bold" if truth == said else "normal"
        axes.text(said + 0.5, truth + 0.44, str(count), ha="center", va="center", fontsize=10, fontweight=weight)
        axes.text(said + 0.5, truth + 0.75, f"{share:.0%}", ha="center", va="center", fontsize=7)
    ticks = np.arange(len(classes)) + 0.5
    axes.set(xlim=(0, len(classes)), ylim=(len(classes), 0), aspect="equal")
    axes.set_xticks(ticks, classes, rotation=0 if max(map(len, classes)) <= 10 else 30)
    axes.set_yticks(ticks, classes, rotation=90, va="center")
    axes.tick_params(length=0, labelsize=7.5, labelcolor=INK)
    axes.set_xlabel("Predicted")
    axes.set_ylabel("Truth")
    axes.spines[:].set_visible(False)
    return _plate(f"confusion_{model.name}", model.title, "", figure, results)


def draw_learning(results: Results, model: Model) -> Plate:
    """Loss by epoch, each fold thin and their mean thick; a dot where a fold's weights were kept."""
    assert model.history is not None
    figure = Figure(figsize=(NARROW, 2.4), layout="constrained")
    axes = figure.add_subplot()
    colour = _colour(results, model)
    history = model.history.assign(epoch=model.history["epoch"] + 1)  # people count from one
    for column, style, label in (("train_loss", (0, (3, 1.5)), "training"), ("val_loss", "-", "validation")):
        by_epoch = history.pivot_table(index="epoch", columns="fold", values=column)  # one column per fold
        axes.plot(by_epoch.index, by_epoch, color=colour, lw=0.7, alpha=0.35, ls=style)
        axes.plot(by_epoch.index, by_epoch.mean(axis=1), color=colour, lw=1.9, ls=style, label=label)
    best = history.loc[history.groupby("fold")["val_loss"].idxmin()]
    axes.scatter(best["epoch"], best["val_loss"], s=14, color=INK, lw=0, zorder=4)
    axes.set_xlim(0.5, history["epoch"].max() + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Epoch")
    axes.set_ylabel("Loss")
    axes.set_ylim(bottom=0)
    axes.tick_params(labelcolor=MUTED, length=3)
    axes.grid(axis="y")
    axes.legend(loc="upper right", ncols=2, handlelength=2.2)
    return _plate(f"learning_{model.name}", model.title, "", figure, results)


def mark_simulated(figure: Figure, results: Results) -> None:
    """Write what stands on everything that comes from a phantom, at the figure's foot."""
    if results.cohort.simulated:
        figure.supxlabel(f"{SIMULATED} patients", x=0.99, ha="right", fontsize=6.5, color=MUTED, style="italic")


def _plate(name: str, title: str, caption: str, figure: Figure, results: Results) -> Plate:
    mark_simulated(figure, results)
    return Plate(re.sub(r"[^\w.+-]", "_", name), title, caption, figure)  # a class may be named with a slash


def _rows(models: tuple[Model, ...], results: Results) -> tuple[Figure, Axes]:
    """An empty chart with one row per model, the first on top; its name stands above the row, from the left."""
    figure = Figure(figsize=(WIDE, 0.65 + ROW * len(models)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylim(len(models) - 0.55, -0.65)
    axes.set_yticks([])
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.spines[["left", "bottom"]].set_visible(False)
    for y, model in enumerate(models):
        _text(axes, 0, y, model.title, bold=model in results.headline)
        if y and model.is_fusion and not models[y - 1].is_fusion:
            axes.axhline(y - 0.6, color=LINE, lw=0.8)
    return figure, axes


def _interval(axes: Axes, y: float, value: float, low: float, high: float, results: Results, model: Model) -> None:
    colour = _colour(results, model)
    axes.plot([low, high], [y, y], color=colour, lw=2.4, alpha=0.5, solid_capstyle="butt", zorder=2)
    axes.scatter([value], [y], s=40, color=colour, marker="D" if model.is_fusion else "o", lw=0, zorder=3)


def _note(axes: Axes, y: float, text: str, *, bold: bool = False) -> None:
    """Figures at the right end of a row."""
    _text(axes, 1, y, text, bold=bold)


def _text(axes: Axes, x: float, y: float, text: str, *, bold: bool) -> None:
    axes.text(
        x,
        y - TEXT_ABOVE,
        text,
        transform=axes.get_yaxis_transform(),
        ha="right" if x else "left",
        va="center",
        fontsize=8.5,
        fontweight="bold" if bold else "normal",
        bbox={"facecolor": CARD, "linewidth": 0, "pad": 1.2},
    ).set_in_layout(False)


def _colour(results: Results, model: Model) -> str:
    return LIGHT[results.colour_of(model)]


def _short(model: Model) -> str:
    """The title without what stands in brackets."""
    short = model.what.partition(" (")[0]
    return f"{short} · {model.group}" if model.group else short
