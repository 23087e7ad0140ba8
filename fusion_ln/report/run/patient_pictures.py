"""A patient's pictures in a figure, over axes for the probabilities of the classes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import PictureError
from fusion_ln.report.kit.style import LINE, MUTED
from fusion_ln.report.run.results import Results
from fusion_ln.terms import IMAGE, MODALITY, PATIENT, short_title

PICTURE_SIDE = 224  # pixels in the report; the cohort keeps the full ones


def draw_pictures(results: Results, patient: str, below: float) -> tuple[Figure, Axes]:
    """Make a figure with the patient's pictures in a row and empty axes of height ``below`` [inches] under them."""
    modalities = results.cohort.modalities
    picture_side = 3.5 / max(len(modalities), 2)
    figure = Figure(figsize=(3.5, picture_side + 0.5 + below), layout="constrained")
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[picture_side, below], hspace=0.02)
    top, bottom = parts[:, 0]
    panels = top.subplots(1, len(modalities), squeeze=False)[0]
    for axes, modality in zip(panels, modalities, strict=True):
        show_picture(axes, results.cohort, patient, modality)
    return figure, bottom.subplots()


def name_classes(axes: Axes, classes: tuple[str, ...], truth: int) -> None:
    """Write the classes' names on the left, the truth with a dot."""
    axes.set(xlim=(0, 1.12), ylim=(len(classes) - 0.5, -0.5), xticks=[])
    axes.set_yticks(range(len(classes)), [f"{name}{' ●' if i == truth else ''}" for i, name in enumerate(classes)])
    axes.tick_params(length=0, labelsize=7.5)
    axes.spines[:].set_visible(False)


def show_picture(axes: Axes, cohort: Cohort, patient: str, modality: str) -> None:
    """Show the first view on a square, or a word where there is none to show."""
    axes.set_title(short_title(modality), fontsize=7, fontweight="normal", pad=3, color=MUTED)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    rows = cohort.images[(cohort.images[PATIENT] == patient) & (cohort.images[MODALITY] == modality)]
    word = "no picture"
    if len(rows):
        try:
            picture = Image.fromarray(cohort.read_picture(rows[IMAGE].iloc[0]))
        except PictureError:
            word = "unreadable"
        else:
            picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            axes.imshow(np.asarray(picture), interpolation="none")
            return
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", facecolor=LINE)
    axes.text(0.5, 0.5, word, ha="center", va="center", fontsize=7, color=MUTED)
