"""The figures of a report, one panel each, so that a page can set them side by side or one below the other.

Every function draws inside `style.figure_style` and returns a figure of its own; Matplotlib's global state is not
touched. Models keep their colour from figure to figure: each modality its own, fusion always the accent.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.metrics import PRIMARY, confusion
from fusion_ln.report.kit.figures import (
    NARROW,
    Plate,
    draw_interval,
    draw_tick,
    empty_rows,
    mark_plate,
    show_zero,
    write_note,
)
from fusion_ln.report.kit.style import INK, LIGHT, LINE, MUTED, number, signed, signed_spread, spread
from fusion_ln.report.run.results import Model, Results

DASHES = ((0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))  # of the fusions beside the headline's


def make_plate(name: str, title: str, caption: str, figure: Figure, results: Results) -> Plate:
    """Make a plate of a figure, marked on a phantom."""
    return mark_plate(name, title, caption, figure, results.cohort.simulated)


def model_rows(models: tuple[Model, ...], results: Results) -> tuple[Figure, Axes]:
    """Make `empty_rows` of models, those of the headline in bold, with a line between single models and fusions."""
    figure, axes = empty_rows([(model.title, model in results.headline) for model in models])
    for y, model in enumerate(models):
        if y and model.is_fusion and not models[y - 1].is_fusion:
            axes.axhline(y - 0.6, color=LINE, lw=0.8)
    return figure, axes


def colour_of(results: Results, model: Model) -> str:
    """Give the colour of a model, the same in every figure."""
    return LIGHT[results.colour_of(model)]


def short_model_title(model: Model) -> str:
    """Give the title without its part in brackets."""
    short = model.what.partition(" (")[0]
    return f"{short} · {model.group}" if model.group else short


def draw_auc(results: Results, models: tuple[Model, ...], name: str = "auc") -> Plate:
    """AUC of the models with its interval and, on a phantom, the attainable one."""
    figure, axes = model_rows(models, results)
    ceilings = []
    for y, model in enumerate(models):
        row = results.interval(model, PRIMARY)
        draw_interval(axes, y, row.value, row.ci_low, row.ci_high, colour_of(results, model), fused=model.is_fusion)
        write_note(axes, y, f"{number(row.value)} ({spread(row.ci_low, row.ci_high)})", bold=model in results.headline)
        if found := results.attainable(model):
            ceilings.append(found["cohort"])
            draw_tick(axes, y, ceilings[-1])
    lows = [results.interval(m, PRIMARY).ci_low for m in models]
    axes.set_xlim(np.floor(20 * (min(lows) - 0.01)) / 20, 1.0)
    axes.set_xlabel("AUC (mean of each class against the rest), 95 % interval")
    caption = "Dot: AUC on held-out patients. Line: its 95 % interval."
    if ceilings:
        caption += " Upright tick: the AUC attainable from what these pictures show, known because they are simulated."
    title = "AUC of every model" if models == results.models else "AUC"
    return make_plate(name, title, caption, figure, results)


def draw_differences(results: Results, metric: str, of_class: str, what: str) -> Plate:
    """Forest plot: each other model minus the reference."""
    figure, axes = model_rows(results.others, results)
    for y, model in enumerate(results.others):
        row = results.difference(model, metric, of_class)
        draw_interval(
            axes, y, row.difference, row.ci_low, row.ci_high, colour_of(results, model), fused=model.is_fusion
        )
        text = f"{signed(row.difference)} ({signed_spread(row.ci_low, row.ci_high)})"
        write_note(axes, y, text, bold=model is results.candidate)
    show_zero(axes)
    axes.set_xlabel("Difference; left of zero the reference is better")
    assert results.reference is not None
    name = "_".join(["difference", metric, *([of_class] if of_class != ALL_CLASSES else [])])
    caption = f"Same patients for all models; 95 % percentile bootstrap. Reference: {results.reference.title}."
    return make_plate(name, f"Difference in {what}", caption, figure, results)


def draw_folds(results: Results) -> Plate:
    """AUC of every held-out fold."""
    figure, axes = model_rows(results.models, results)
    for y, model in enumerate(results.models):
        folds = model.auc_by_fold().dropna()
        axes.scatter(folds, [y] * len(folds), s=26, color=colour_of(results, model), alpha=0.6, lw=0, zorder=3)
        axes.plot([folds.mean()] * 2, [y - 0.15, y + 0.15], color=colour_of(results, model), lw=2, zorder=4)
        write_note(axes, y, f"{number(folds.min(), 2)} to {number(folds.max(), 2)}")
    axes.set_xlim(right=1.0)
    axes.set_xlabel("AUC (mean of each class against the rest)")
    return make_plate("auc_by_fold", "AUC by fold", "Dot: one held-out fold. Line: mean of the folds.", figure, results)


def draw_roc(results: Results, of_class: str, bands: dict[str, pd.DataFrame]) -> Plate:
    """ROC curves of one class against the rest: the headline's models with their bands, the others beside them.

    Args:
        results: What the report shows.
        of_class: The class.
        bands: By model of the headline, see `fusion_ln.evaluation.roc.roc_band`.
    """
    figure = Figure(figsize=(NARROW, NARROW + 0.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=LINE, lw=0.9, zorder=1)
    others = [m for m in (results.fusions or results.models) if m not in results.headline]
    for model in [*results.headline, *others]:
        shown = model.predictions
        label = shown.classes.index(of_class)
        x, y, _ = roc_curve(shown.labels == label, shown.probs[:, label])
        main = model in results.headline
        axes.plot(
            x,
            y,
            color=colour_of(results, model),
            lw=1.9 if main else 1.0,
            alpha=1 if main else 0.75,
            ls="-" if main else DASHES[others.index(model) % len(DASHES)],
            label=f"{short_model_title(model)}\u2002{number(results.interval(model, 'auc', of_class).value)}",
            zorder=3 if main else 2,
        )
        if main:
            band = bands[model.name]
            rates = band["false_positive_rate"]
            axes.fill_between(rates, band["ci_low"], band["ci_high"], color=colour_of(results, model), alpha=0.13, lw=0)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set_xlabel("1 − specificity")
    axes.set_ylabel("Sensitivity")
    axes.tick_params(labelcolor=MUTED, length=3)
    axes.legend(loc="lower right", title="AUC", title_fontsize=7.5, alignment="right", handlelength=1.8)
    return make_plate(f"roc_{of_class}", f"{of_class} against the rest", "", figure, results)


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
        face = to_rgba(colour_of(results, model), 0.04 + 0.5 * share)
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
    return make_plate(f"confusion_{model.name}", model.title, "", figure, results)


def draw_learning(results: Results, model: Model) -> Plate:
    """Loss by epoch, each fold thin and their mean thick; a dot where a fold's weights were kept."""
    assert model.history is not None
    figure = Figure(figsize=(NARROW, 2.4), layout="constrained")
    axes = figure.add_subplot()
    colour = colour_of(results, model)
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
    return make_plate(f"learning_{model.name}", model.title, "", figure, results)
