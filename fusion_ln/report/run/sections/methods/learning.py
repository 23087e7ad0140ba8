"""Learning curves: loss by epoch."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fusion_ln.report.kit.figures import NARROW, Plate
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import INK, MUTED
from fusion_ln.report.run.figures import colour_of, make_plate
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section

OF_NODES = WITHOUT_PATIENTS = True


def build(report: Report) -> Section | None:
    """Build the section where something was trained."""
    results = report.results
    trained = [model for model in results.models if model.history is not None]
    if not trained:
        return None
    return Section(
        place=140,
        anchor="learning",
        link="Learning",
        title="Learning curves",
        subtitle="loss by epoch",
        text="Thin lines: folds. Thick line: their mean. Dot: the epoch whose weights were kept.",
        plates=[draw_learning(results, model) for model in trained],
        sheets=[Sheet("learning_curves", "Losses by epoch", losses_by_epoch(trained))],
    )


def losses_by_epoch(trained: list[Model]) -> pd.DataFrame:
    """Stack losses and scores of every epoch, fold and model."""
    tables = [m.history.assign(model=m.name) for m in trained if m.history is not None]
    return pd.concat(tables, ignore_index=True)


def draw_learning(results: Results, model: Model) -> Plate:
    """Draw the loss by epoch, each fold thin and their mean thick; a dot where a fold's weights were kept."""
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
    figure.legend(loc="outside upper right", ncols=2, handlelength=2.2)
    return make_plate(f"learning_{model.name}", model.title, "", figure, results)
