"""Example patients: their pictures, the truth, and what the model says; drawn by rule, not picked by hand."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import PictureError
from fusion_ln.report.kit.figures import Plate
from fusion_ln.report.kit.style import INK, LINE, MUTED, number
from fusion_ln.report.run.figures import colour_of, make_plate
from fusion_ln.report.run.results import Model, Results
from fusion_ln.terms import MODALITY, PATH, PATIENT, short_title

MANY_CLASSES = 4  # from here on one patient per class has to do
PICTURE_SIDE = 224  # pixels in the report; the cohort keeps the full ones


@dataclass(frozen=True)
class Example:
    """A patient shown as an example, and by which rule."""

    patient: str
    label: int
    probs: np.ndarray  # (C,)
    rule: str


def choose_examples(results: Results) -> list[Example]:
    """Per class the typical patient (median probability of the truth) and the one most misjudged (lowest).

    Patients with a picture of every modality go first, since they show the most.
    """
    main, cohort = results.main.predictions, results.cohort
    pictured = set(main.patients).intersection(*(cohort.patients_with(m) for m in results.main.modalities))
    eligible = np.isin(main.patients, sorted(pictured)) if pictured else np.ones(len(main.patients), dtype=bool)
    chosen = []
    for label in range(len(cohort.classes)):
        rows = np.flatnonzero(eligible & (main.labels == label))
        ranked = rows[np.argsort(main.probs[rows, label], kind="stable")]
        places = [(len(ranked) // 2, "typical")]
        if len(cohort.classes) < MANY_CLASSES and len(ranked) > 1:
            places.append((0, "most misjudged"))
        chosen += [
            Example(main.patients[ranked[at]], label, main.probs[ranked[at]], rule)
            for at, rule in places
            if len(ranked)
        ]
    return chosen


def draw_example(results: Results, example: Example) -> Plate:
    """The patient's pictures in a row, and below them the probability of each class, the true one dark."""
    classes = results.cohort.classes
    figure, bars = _pictures(results, example.patient, 0.24 * len(classes))
    _bars(bars, classes, example)
    title = f"{classes[example.label]}, {example.rule}"
    name = f"example_{example.label}_{example.rule.split()[0]}"
    return make_plate(name, title, example.patient, figure, results)


def draw_disagreement(results: Results, patient: str, models: tuple[Model, ...]) -> Plate:
    """The patient's pictures in a row, and below them the probability that each model gives each class."""
    classes = results.cohort.classes
    figure, bars = _pictures(results, patient, 0.36 * len(classes))
    bars.barh(range(len(classes)), [1] * len(classes), height=0.7, color=LINE, alpha=0.35, lw=0)
    height = 0.7 / len(models)
    for index, model in enumerate(models):
        shown = model.predictions.of([patient])
        places = np.arange(len(classes)) - 0.35 + height * (index + 0.5)
        bars.barh(places, shown.probs[0], height=0.86 * height, color=colour_of(results, model), lw=0)
        for place, prob in zip(places, shown.probs[0], strict=True):
            bars.text(1.02, place, number(prob, 2), va="center", fontsize=7)
    label = int(models[0].predictions.of([patient]).labels[0])
    _name_classes(bars, classes, label)
    said = ", ".join(f"{classes[m.predictions.of([patient]).probs[0].argmax()]} ({m.title})" for m in models)
    return make_plate(f"disagreement_{patient}", classes[label], f"{patient}. {said}.", figure, results)


def _pictures(results: Results, patient: str, below: float) -> tuple[Figure, Axes]:
    """A figure with the patient's pictures in a row and empty axes of height ``below`` [inches] under them."""
    modalities = results.cohort.modalities
    picture_side = 3.5 / max(len(modalities), 2)
    figure = Figure(figsize=(3.5, picture_side + 0.5 + below), layout="constrained")
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[picture_side, below], hspace=0.02)
    top, bottom = parts[:, 0]
    panels = top.subplots(1, len(modalities), squeeze=False)[0]
    for axes, modality in zip(panels, modalities, strict=True):
        _show(axes, results.cohort, patient, modality)
    return figure, bottom.subplots()


def _show(axes: Axes, cohort: Cohort, patient: str, modality: str) -> None:
    """The first view, on a square; a word where there is none to show."""
    axes.set_title(short_title(modality), fontsize=7, fontweight="normal", pad=3, color=MUTED)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    rows = cohort.images[(cohort.images[PATIENT] == patient) & (cohort.images[MODALITY] == modality)]
    word = "no picture"
    if len(rows):
        try:
            picture = Image.fromarray(cohort.read_picture(rows[PATH].iloc[0]))
        except PictureError:
            word = "unreadable"
        else:
            picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            axes.imshow(np.asarray(picture), interpolation="none")
            return
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", facecolor=LINE)
    axes.text(0.5, 0.5, word, ha="center", va="center", fontsize=7, color=MUTED)


def _bars(axes: Axes, classes: tuple[str, ...], example: Example) -> None:
    places = range(len(classes))
    axes.barh(places, [1] * len(classes), height=0.5, color=LINE, alpha=0.35, lw=0)
    colours = [INK if label == example.label else MUTED for label in places]
    axes.barh(places, example.probs, height=0.5, color=colours, lw=0)
    for place, prob in zip(places, example.probs, strict=True):
        axes.text(1.02, place, number(prob, 2), va="center", fontsize=7.5)
    _name_classes(axes, classes, example.label)


def _name_classes(axes: Axes, classes: tuple[str, ...], truth: int) -> None:
    """The classes' names on the left, the truth with a dot."""
    axes.set(xlim=(0, 1.12), ylim=(len(classes) - 0.5, -0.5), xticks=[])
    axes.set_yticks(range(len(classes)), [f"{name}{' ●' if i == truth else ''}" for i, name in enumerate(classes)])
    axes.tick_params(length=0, labelsize=7.5)
    axes.spines[:].set_visible(False)
