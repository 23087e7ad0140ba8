"""Page of an explanation: contributions of the modalities, maps of the patients, tests of the maps."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from fusion_ln.files.names import as_file_name
from fusion_ln.forks import map_in_forks
from fusion_ln.report.explanation import figures, overlays
from fusion_ln.report.explanation.reading import ExplainedPatient, Explanation, read_explanation
from fusion_ln.report.explanation.tables import (
    MAP_MEASURES,
    best_of,
    explanation_verdict,
    lead,
    leading_method,
    method_table,
    pair_table,
    truth_shares,
)
from fusion_ln.report.kit import style
from fusion_ln.report.kit.figures import Plate, mark_plate
from fusion_ln.report.kit.page import write_page, write_png
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.runs import ExplanationFolder
from fusion_ln.terms import MODALITY, PATIENT, SIMULATED, short_title
from fusion_ln.units import nodes_counted

GALLERY = 48  # patients with their pictures in the page; of all there is a panel as PNG

# Rows of a patient's panel: the name of a picture, and its cells: the picture, then the map of every method over it.
Rows = list[tuple[str, list[np.ndarray]]]
Panel = tuple[tuple[str, tuple[str, ...]], ...]  # its cells as data URIs; none where the page does not show it


@dataclass(frozen=True)
class GalleryPatient:
    """A patient of the page's gallery.

    Attributes:
        contributions: Of each modality to the predicted class; empty for a run of one modality.
    """

    patient: ExplainedPatient
    contributions: tuple[tuple[str, float], ...]
    panel: Panel

    @property
    def truth(self) -> str:
        return self.patient.truth


def write_explanation(folder: ExplanationFolder) -> Path:
    """Write ``explanation.html`` with its figures and tables from the files of an explanation.

    Returns:
        Path of the page.

    Raises:
        RunError: If the folder holds no explanation, or cannot be written to.
    """
    read = read_explanation(folder)
    methods = method_table(read)
    leader = leading_method(read, methods)
    with style.figure_style():
        groups = {
            "trust": _trust_plates(read),
            "contributions": _contribution_plates(read),
            "means": [_mean_plate(read, method) for method in sorted(read.titles, key=lambda name: name != leader)],
        }
        shown = _choose_shown(read)
        panels = _write_panels(read, {patient.id for patient in shown})
    sheets = [
        Sheet("methods", "Methods", methods),
        Sheet("figures", "Where the weight of every map lies", read.figures),
        Sheet("patients", "Explained patients", read.patients),
        Sheet("contributions", "Contributions of the modalities", read.contributions),
        Sheet("interactions", "Interactions of the modalities", read.interactions),
    ]
    return write_page(
        folder.page,
        "explanation.html",
        [each for group in groups.values() for each in group],
        [sheet for sheet in sheets if len(sheet.table)],
        simulated=read.simulated,
        nodes=nodes_counted(read.patients[PATIENT].tolist()),
        read=read,
        record=read.record,
        plates=groups,
        methods=methods,
        measures=[measure for measure in MAP_MEASURES if measure.name in methods],
        best=best_of(methods),
        leader=leader,
        verdict=explanation_verdict(read),
        lead=lead(read, methods, leader),
        shares=truth_shares(read),
        pairs=pair_table(read),
        gallery=[GalleryPatient(each, _contributions_to(read, each), panels[each.id]) for each in shown],
        of_views=any(len(panels[patient.id]) > len(patient.modalities) for patient in read.explained),
    )


def _choose_shown(read: Explanation) -> list[ExplainedPatient]:
    """Choose the patients of the page, by true class, the most misjudged first."""
    order = sorted(read.explained, key=lambda each: (read.classes.index(each.truth), each.probs[each.truth]))
    if len(order) <= GALLERY:
        return order
    truths = pd.Series([patient.truth for patient in order])  # of each class the same number
    kept = truths.groupby(truths).cumcount() < GALLERY // len(read.classes)
    return [patient for patient, keep in zip(order, kept, strict=True) if keep]


def _contributions_to(read: Explanation, patient: ExplainedPatient) -> tuple[tuple[str, float], ...]:
    """Look up the contribution of each modality to the predicted class."""
    if read.contributions.empty:
        return ()
    table = read.contributions
    own = table[(table[PATIENT] == patient.id) & (table["class"] == patient.predicted)]
    return tuple((m, float(c)) for m, c in zip(own[MODALITY], own["contribution"], strict=True))


def _write_panels(read: Explanation, shown: Collection[str]) -> dict[str, Panel]:
    """Write the panel of every patient as PNG; returns them by patient."""
    panels = map_in_forks("Panels", partial(_write_panel, read, shown), read.explained)
    return {patient.id: panel for patient, panel in zip(read.explained, panels, strict=True)}


def _write_panel(read: Explanation, shown: Collection[str], patient: ExplainedPatient) -> Panel:
    rows = _draw_cells(read, patient)
    prob = style.number(patient.probs[patient.predicted], 2)
    title = f"{patient.id}: {patient.predicted} ({prob}), truly {patient.truth}"
    foot = f"{SIMULATED} patient" if read.simulated else ""
    panel = overlays.draw_panel(title, ["Picture", *read.titles.values()], rows, foot)
    write_png(read.folder.root / "figures" / "patients" / f"{as_file_name(patient.id)}.png", panel)
    is_shown = patient.id in shown
    return tuple((name, tuple(map(overlays.data_uri, cells if is_shown else ()))) for name, cells in rows)


def _draw_cells(read: Explanation, patient: ExplainedPatient) -> Rows:
    pictures = read.pictures(patient.id)
    maps = {
        method: {m: np.stack([overlays.smooth(view) for view in values]) for m, values in held.items()}
        for method, held in ((method, read.maps(method, patient.id)) for method in read.titles)
    }
    scales = {method: overlays.scale_of([held[m] for m in patient.modalities]) for method, held in maps.items()}
    rows = []
    for modality in patient.modalities:
        views = pictures[modality]
        for view, picture in enumerate(views):
            if view and not picture.any():
                continue  # others of the patient's modalities have more views
            node = pictures[f"node-{modality}"][view] if f"node-{modality}" in pictures else None
            cells = [overlays.picture_cell(picture, node)]
            cells += [overlays.overlay_cell(picture, maps[m][modality][view], scales[m]) for m in read.titles]
            name = short_title(modality) + (f" {view + 1}" if len(views) > 1 else "")
            rows.append((name, cells))
    return rows


def _trust_plates(read: Explanation) -> list[Plate]:
    if not read.record.trust:
        return []
    titles, simulated = read.titles, read.simulated
    randomised = {m: rows for m, rows in read.curves("randomised").items() if m in titles}
    back, gone = read.curves("insertion"), read.curves("deletion")
    drawn = [
        (
            "insertion",
            "Insertion",
            "Pixels come back into a blurred picture, the highest of the map first: the sooner the curve rises, the "
            "better.",
            figures.draw_curve(back, titles, "Pixels back [%]"),
        ),
        (
            "deletion",
            "Deletion",
            "Pixels go black, the highest of the map first: the sooner the curve falls, the better.",
            figures.draw_curve(gone, titles, "Pixels gone [%]"),
        ),
        (
            "randomised",
            "Randomisation",
            "Rank correlation with the map of the same network with its weights shuffled. A map that stays as it was "
            "shows edges, not what the model learnt.",
            figures.draw_randomised(randomised, titles, read.record.randomized_shares),
        ),
    ]
    return [mark_plate(name, title, caption, figure, simulated=simulated) for name, title, caption, figure in drawn]


def _contribution_plates(read: Explanation) -> list[Plate]:
    if read.contributions.empty:
        return []
    table, classes, simulated = read.contributions, read.classes, read.simulated
    exact = " Diamonds: by the exact posterior of the phantom." if "exact" in table else ""
    n = figures.count_patients(table)
    bars = figures.draw_bars(table, classes, read.modalities)
    caption = f"Mean absolute Shapley value over {n} patients.{exact}"
    drawn = [mark_plate("contributions", "How far each modality moves each class", caption, bars, simulated=simulated)]
    for name in classes:
        caption = f"Each dot a patient who has the picture; in colour those who truly have {name}."
        figure = figures.draw_swarm(table, classes, name, read.modalities)
        drawn.append(mark_plate(f"swarm_{name}", name, caption, figure, simulated=simulated))
    return drawn


def _mean_plate(read: Explanation, method: str) -> Plate:
    """Draw the mean maps by predicted class; pictures are centred in their squares, which can so be averaged."""
    sums: dict[str, dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]]] = {}
    for patient in read.explained:
        pictures, maps = read.pictures(patient.id), read.maps(method, patient.id)
        whole = sum(float(np.maximum(m, 0).sum()) for m in maps.values()) or 1.0
        for modality in patient.modalities:
            grey = pictures[modality][0].mean(0) / 255
            node = pictures[f"node-{modality}"][0].astype(float) if f"node-{modality}" in pictures else None
            heat = overlays.smooth(maps[modality][0]) / whole
            sums.setdefault(patient.predicted, {}).setdefault(modality, []).append((grey, heat, node))
    means = {
        name: {modality: _mean(triples) for modality, triples in sums[name].items()}
        for name in read.classes
        if name in sums
    }
    counts = read.patients["target"].map(dict(enumerate(read.classes))).value_counts()
    labels = {f"{name} ({counts[name]})": row for name, row in means.items()}
    figure = figures.draw_class_means(labels, read.modalities)
    outline = " White: the mean outline of the node." if read.simulated else ""
    caption = f"Rows: predicted class (patients). First views, centred.{outline}"
    return mark_plate(f"class_means_{method}", read.titles[method], caption, figure, simulated=read.simulated)


def _mean(
    triples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray | None]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    grey, heat = np.mean([each[0] for each in triples], axis=0), np.mean([each[1] for each in triples], axis=0)
    nodes = [each[2] for each in triples if each[2] is not None]
    return grey, heat, np.mean(nodes, axis=0) if nodes else None
