"""Disagreement: patients whom the two models of the headline class differently."""

import numpy as np
import pandas as pd

from fusion_ln.report.kit.figures import Plate
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import LINE, number
from fusion_ln.report.run.figures import colour_of, make_plate
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.patient_pictures import draw_pictures, name_classes
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section
from fusion_ln.terms import PATIENT

OF_NODES = True
MOST_DISAGREEMENTS = 6  # patients shown with their pictures; the table lists all


def build(report: Report) -> Section | None:
    """Build the section where the headline has two models and they disagree."""
    results, table = report.results, disagreements(report.results)
    if table.empty:
        return None
    listed: list[str] = table[PATIENT][:MOST_DISAGREEMENTS].tolist() if len(results.cohort.images) else []
    titles = [model.title for model in results.headline]
    return Section(
        place=50,
        anchor="disagreements",
        link="Disagreement",
        title="Disagreement",
        subtitle=f"{len(table)} patients whom {' and '.join(titles)} class differently",
        template="evidence/disagreements.html",
        plates=[draw_disagreement(results, patient, results.headline) for patient in listed],
        sheets=[
            Sheet(
                "disagreements",
                "Patients on whom the models disagree",
                table,
                {"gain": "Gain in probability of the truth"},
            )
        ],
        is_open=bool(listed),
        values={
            "titles": titles,
            "patients": len(table),
            "closer": int((table["gain"] > 0).sum()),
            "farther": int((table["gain"] < 0).sum()),
        },
    )


def disagreements(results: Results) -> pd.DataFrame:
    """Make ``patient_id, truth, <reference>, <candidate>, gain`` of the patients who are classed differently.

    ``gain`` is the candidate's probability of the truth minus the reference's; the largest gaps come first.
    """
    reference, candidate = results.reference, results.candidate
    if reference is None or candidate is None:
        return pd.DataFrame()
    both = set(reference.predictions.patients) & set(candidate.predictions.patients)
    a, b = reference.predictions.of(both), candidate.predictions.of(both)
    classes, rows = np.array(a.classes), np.arange(len(a.labels))
    table = pd.DataFrame(
        {
            PATIENT: a.patients,
            "truth": classes[a.labels],
            reference.name: classes[a.probs.argmax(axis=1)],
            candidate.name: classes[b.probs.argmax(axis=1)],
            "gain": b.probs[rows, b.labels] - a.probs[rows, a.labels],
        }
    )
    other = table[table[reference.name] != table[candidate.name]]
    return other.sort_values("gain", key=np.abs, ascending=False, kind="stable", ignore_index=True)


def draw_disagreement(results: Results, patient: str, models: tuple[Model, ...]) -> Plate:
    """Draw the patient's pictures in a row, and below them the probability that each model gives each class."""
    classes = results.cohort.classes
    figure, bars = draw_pictures(results, patient, 0.36 * len(classes))
    bars.barh(range(len(classes)), [1] * len(classes), height=0.7, color=LINE, alpha=0.35, lw=0)
    height = 0.7 / len(models)
    for index, model in enumerate(models):
        shown = model.predictions.of([patient])
        places = np.arange(len(classes)) - 0.35 + height * (index + 0.5)
        bars.barh(places, shown.probs[0], height=0.86 * height, color=colour_of(results, model), lw=0)
        for place, prob in zip(places, shown.probs[0], strict=True):
            bars.text(1.02, place, number(prob, 2), va="center", fontsize=7)
    label = int(models[0].predictions.of([patient]).labels[0])
    name_classes(bars, classes, label)
    predicted = ", ".join(f"{classes[m.predictions.of([patient]).probs[0].argmax()]} ({m.title})" for m in models)
    return make_plate(f"disagreement_{patient}", classes[label], f"{patient}. {predicted}.", figure, results)
