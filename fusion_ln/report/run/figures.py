"""Figures of a report that know its models: rows, colours and the AUC of every model.

Every function draws inside `style.figure_style` and returns a figure of its own; Matplotlib's global state is not
touched. A model keeps its colour from figure to figure: each modality its own, fusion always the accent.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusion_ln.metrics import PRIMARY
from fusion_ln.report.kit.figures import (
    Plate,
    draw_interval,
    draw_tick,
    empty_rows,
    mark_plate,
    start_of_axis,
    write_note,
)
from fusion_ln.report.kit.style import LIGHT, LINE, number, spread
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results


def make_plate(name: str, title: str, caption: str, figure: Figure, results: Results) -> Plate:
    """Make a plate of a figure, marked on a phantom."""
    return mark_plate(name, title, caption, figure, results.cohort.simulated)


def model_rows(models: tuple[Model, ...], results: Results) -> tuple[Figure, Axes]:
    """Make `empty_rows` of models, those of the headline in bold, with a line between single models and fusions."""
    figure, axes = empty_rows([(_row_title(model), model in results.headline) for model in models])
    for y, model in enumerate(models):
        if y and model.is_fusion and not models[y - 1].is_fusion:
            axes.axhline(y - 0.6, color=LINE, lw=0.8)
    return figure, axes


def colour_of(results: Results, model: Model) -> str:
    """Give the colour of a model, the same in every figure."""
    return LIGHT[results.colour_of(model)]


def _row_title(model: Model) -> str:
    """Give the title, without the columns that a model reads: they leave no room for figures."""
    return short_model_title(model) if model.is_clinical else model.title


def short_model_title(model: Model) -> str:
    """Give the title without its part in brackets."""
    short = model.what.partition(" (")[0]
    return f"{short} · {model.group}" if model.group else short


def draw_auc(results: Results, models: tuple[Model, ...], name: str = "auc") -> Plate:
    """Draw the AUC of the models with its interval and, on a phantom, the attainable one."""
    figure, axes = model_rows(models, results)
    ceilings = []
    for y, model in enumerate(models):
        row = results.interval(model, PRIMARY)
        draw_interval(axes, y, row.value, row.ci_low, row.ci_high, colour_of(results, model), fused=model.is_fusion)
        write_note(axes, y, f"{number(row.value)} ({spread(row.ci_low, row.ci_high)})", bold=model in results.headline)
        if found := results.attainable(model):
            ceilings.append(found["cohort"])
            draw_tick(axes, y, ceilings[-1])
    estimates = [results.interval(model, PRIMARY) for model in models]
    axes.set_xlim(start_of_axis(x for row in estimates for x in (row.ci_low, row.value)), 1.0)
    axes.set_xlabel("AUC (mean of each class against the rest), 95 % interval")
    caption = "Dot: AUC on held-out patients. Line: its 95 % interval over patients, given these trainings."
    if ceilings:
        caption += " Upright tick: the AUC attainable from what these pictures show, known because they are simulated."
    title = "AUC of every model" if models == results.models else "AUC"
    return make_plate(name, title, caption, figure, results)
