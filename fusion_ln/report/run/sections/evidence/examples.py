"""Patients: examples with their pictures, the truth and the main model's prediction; drawn by rule, not by hand."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from fusion_ln.report.kit.figures import Plate
from fusion_ln.report.kit.style import INK, LINE, MUTED, number
from fusion_ln.report.run.figures import make_plate
from fusion_ln.report.run.patient_pictures import draw_pictures, name_classes
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section

OF_NODES = True
MANY_CLASSES = 4  # from here on one patient per class has to do


@dataclass(frozen=True)
class Example:
    """A patient shown as an example, and by which rule."""

    patient: str
    label: int
    probs: np.ndarray  # (C,)
    rule: str


def build(report: Report) -> Section | None:
    """Build the section where the cohort's pictures are at hand."""
    results = report.results
    if results.cohort.images.empty:
        return None
    return Section(
        place=40,
        anchor="examples",
        link="Patients",
        title="Patients",
        subtitle=f"their pictures, the truth and the probabilities of {results.main.title}",
        text="Drawn by rule from patients with every picture that the model reads: in each class the one whose true "
        "class got the median probability, and the one whose true class got the lowest. The dot marks the truth.",
        plates=[draw_example(results, example) for example in choose_examples(results)],
        is_open=True,
    )


def choose_examples(results: Results) -> list[Example]:
    """Choose per class the typical patient (median probability of the truth) and the one most misjudged (lowest).

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
    """Draw the patient's pictures in a row, and below them the probability of each class, the true one dark."""
    classes = results.cohort.classes
    figure, bars = draw_pictures(results, example.patient, 0.24 * len(classes))
    _bars(bars, classes, example)
    title = f"{classes[example.label]}, {example.rule}"
    name = f"example_{example.label}_{example.rule.split()[0]}"
    return make_plate(name, title, example.patient, figure, results)


def _bars(axes: Axes, classes: tuple[str, ...], example: Example) -> None:
    places = range(len(classes))
    axes.barh(places, [1] * len(classes), height=0.5, color=LINE, alpha=0.35, lw=0)
    colours = [INK if label == example.label else MUTED for label in places]
    axes.barh(places, example.probs, height=0.5, color=colours, lw=0)
    for place, prob in zip(places, example.probs, strict=True):
        axes.text(1.02, place, number(prob, 2), va="center", fontsize=7.5)
    name_classes(axes, classes, example.label)
