"""Page of a shortcut audit: the verdict, the figures behind it, and the altered pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from fusion_ln.decode.stored import read_stored_table
from fusion_ln.errors import RunError
from fusion_ln.evaluation.shortcut import (
    ALTERATION,
    AUC_MARGIN,
    CHANCE,
    FRAME_ONLY,
    GREYED,
    MUST_NOT_LOSE,
    MUST_NOT_TELL,
    NODE_HIDDEN,
    PROBE,
    SWAPPED,
    TEXTS_PAINTED,
    UNALTERED,
    AlterationScore,
    ShortcutAssessment,
    assess_shortcuts,
    title,
)
from fusion_ln.explanations import AuditRecord
from fusion_ln.files.names import as_file_name
from fusion_ln.predictions import check_table
from fusion_ln.report.kit import style
from fusion_ln.report.kit.figures import Plate, draw_interval, empty_rows, mark_plate, start_of_axis, write_note
from fusion_ln.report.kit.page import write_page
from fusion_ln.report.kit.sheets import Fact, Sheet
from fusion_ln.report.kit.style import INK, LIGHT, LINE, MUTED, number, signed, signed_spread, spread
from fusion_ln.runs import AUDIT_PAGE
from fusion_ln.terms import AUDIT_RECORD, short_title
from fusion_ln.units import nodes_counted

LIMIT = CHANCE + AUC_MARGIN
FIGURE_WIDTH = 7.6  # inches, of the figure of example pictures
RELIES, KEEPS_RULE, NOT_TESTED = "other-1", "elastic", "2d"  # colours by what the rule says of an alteration

MEANINGS = {
    UNALTERED: "The pictures as the model was trained on them: what the other rows are measured against.",
    NODE_HIDDEN: "The part with the node is filled from its surroundings, in a box of one size for all patients, so "
    "that the box tells no shape. A model that still tells the classes does so by something else.",
    FRAME_ONLY: "The mean picture of all patients stands in place of the tissue; its surround and everything burned in "
    "stay. Nothing of what differs between patients has to do with disease.",
    TEXTS_PAINTED: "Texts, scales and signs are filled from their surroundings. A model that reads tissue does not "
    "miss them.",
    GREYED: "Colours are turned to grey. In Doppler and elastography colour is the measurement, so a loss is as it "
    "should be; in grey-scale pictures nothing should change.",
    SWAPPED: "Each modality's picture is that of another patient of the same class. Every picture still shows the "
    "class, but no longer the same patient: a loss tells that the model needs the pictures to be of one patient.",
    PROBE: "Not the model itself: a simple one that learnt from the frame and the texts alone. It shows whether they "
    "give the class away at all.",
}
MEANING_SWAPPED_ONE = (
    "The picture of this modality is that of any other patient; the others stay. The loss is what the model draws "
    "from this modality."
)
RULES = {
    "truth": "The node's outline and the burned-in marks are known, because the pictures are simulated.",
    "rule": "The cohort has no masks. Burned-in texts and graphics are found as thin, bright strokes that stand out "
    "sharply along the row, which tissue hardly does; the picture of tissue as the largest part in which grey values "
    "vary; and the node is taken to lie in the middle of it, four fifths of its width and height. Dotted lines, and "
    "letters on tissue as bright as they are, may stay unseen.",
}


@dataclass(frozen=True)
class ShortcutAudit:
    """A finished audit with its assessment.

    Attributes:
        folder: Folder of its files.
        record: Content of its audit.json.
        assessment: By the fixed rule of `fusion_ln.evaluation.shortcut`.
        examples: Files of altered pictures by patient, then alteration, then modality.
        labels: True class of each example patient.
        nodes: Count of nodes and their patients; empty where the units are patients.
    """

    folder: Path
    record: AuditRecord
    assessment: ShortcutAssessment
    examples: dict[str, dict[str, dict[str, Path]]]
    labels: dict[str, str]
    nodes: str = ""

    @property
    def simulated(self) -> bool:
        return self.record.cohort.simulated


def read_audit(folder: Path) -> ShortcutAudit:
    """Read and assess what `fusionln audit` wrote.

    Raises:
        RunError: If there is no audit, or a damaged one.
        PredictionsError: If a class has fewer than 2 patients.
    """
    if not (folder / AUDIT_RECORD).is_file():
        raise RunError(f"{folder}: holds no audit.", "Make one with `fusionln audit RUN`.")
    record = AuditRecord.read(folder / AUDIT_RECORD)
    path = folder / "predictions.parquet"
    again = "Make the audit again with `fusionln audit RUN`."
    table = read_stored_table(path, again, {ALTERATION: "text"})
    classes = record.cohort.classes
    predictions = {
        str(name): check_table(path, rows.drop(columns=ALTERATION))
        for name, rows in table.groupby(ALTERATION, sort=False)
    }
    whole = {UNALTERED, NODE_HIDDEN, FRAME_ONLY, TEXTS_PAINTED} <= predictions.keys()
    if not whole or {each.classes for each in predictions.values()} != {classes}:
        raise RunError(f"{path}: lacks a part of the audit, or is of other classes.", again)
    if unknown := set(record.examples) - set(predictions[UNALTERED].patients):
        raise RunError(f"{path}: holds no prediction of the example {sorted(unknown)[0]!r}.", again)
    examples: dict[str, dict[str, dict[str, Path]]] = {}
    for patient in record.examples:
        examples[patient] = {
            name: {m: path for m in record.modalities if (path := _example(folder, name, patient, m)).is_file()}
            for name in (UNALTERED, NODE_HIDDEN, FRAME_ONLY, TEXTS_PAINTED, GREYED)
        }
    unaltered = predictions[UNALTERED].of(record.examples)
    labels = {p: classes[label] for p, label in zip(unaltered.patients, unaltered.labels, strict=True)}
    nodes = nodes_counted(predictions[UNALTERED].patients)
    return ShortcutAudit(folder, record, assess_shortcuts(predictions), examples, labels, nodes)


def write_audit_page(audit: ShortcutAudit) -> Path:
    """Write ``audit.html``, ``figures/*.png`` and ``tables/audit.csv`` into the audit's folder; return the page."""
    with style.figure_style():
        drawn = [_plate(audit, "auc", "AUC by what the model is shown", _draw_aucs(audit.assessment))]
        drawn.append(_plate(audit, "change", "Change in AUC", _draw_changes(audit.assessment)))
        drawn += [
            _plate(audit, f"example_{n}", f"{patient}, {audit.labels[patient]}", _draw_example(audit, patient))
            for n, patient in enumerate(audit.examples)
        ]
    shown = {score.alteration: title(score.alteration) for score in audit.assessment.scores}
    table = audit.assessment.table.assign(shown=list(shown.values()))
    return write_page(
        audit.folder / AUDIT_PAGE,
        "audit.html",
        drawn,
        [Sheet("audit", "AUC on altered pictures", table)],
        simulated=audit.simulated,
        nodes=audit.nodes,
        audit=audit,
        plates={each.name: each for each in drawn},
        verdict=shortcut_verdict(audit),
        lead=shortcut_figures(audit),
        facts=shortcut_facts(audit),
        shown=shown,
        meanings={heading: MEANINGS.get(name, MEANING_SWAPPED_ONE) for name, heading in shown.items()},
        rule=RULES[audit.record.regions],
        limit=LIMIT,
        margin=AUC_MARGIN,
    )


def shortcut_verdict(audit: ShortcutAudit) -> str:
    """Give the answer in one sentence."""
    where = "In simulated patients, the" if audit.simulated else "The"
    if audit.assessment.relies:
        return f"{where} model relies on something outside the node."
    where = "In simulated patients, no" if audit.simulated else "No"
    return f"{where} sign that the model relies on something outside the node."


def shortcut_figures(audit: ShortcutAudit) -> str:
    """Explain the figures behind the verdict and their uncertainty."""
    assessment = audit.assessment
    hidden, frame, texts = (assessment.of(name) for name in (NODE_HIDDEN, FRAME_ONLY, TEXTS_PAINTED))
    figures = {
        NODE_HIDDEN: f"with the node hidden its AUC was {_auc(hidden)}",
        FRAME_ONLY: f"from nothing but the frame and the texts it was {_auc(frame)}",
        TEXTS_PAINTED: f"painting over the texts changed it by {signed(texts.change)} "
        f"({signed_spread(texts.change_low, texts.change_high)})",
    }
    parts = [f"On held-out patients the model's AUC was {_auc(assessment.of(UNALTERED))}."]
    if assessment.relies:
        parts.append(f"{_listed([figures[name] for name in assessment.caught])}.")
        if assessment.caught == (NODE_HIDDEN,):
            parts.append(
                "What surrounds a node may be diseased as well, and a node may be larger than the hidden part: "
                "look at the pictures below before blaming the model."
            )
    else:
        parts.append(f"{_listed(list(figures.values()))}: none is beyond the limit.")
        most = max(hidden.ci_high, frame.ci_high)
        parts.append(f"That is no proof: these patients would also fit an AUC of {number(most, 2)} without the node.")
        if assessment.of(UNALTERED).ci_low <= LIMIT:
            parts.append("The model hardly tells the classes at all, so there is little that it could rely on.")
    return " ".join([*parts, _about_probe(assessment)])


def shortcut_facts(audit: ShortcutAudit) -> list[Fact]:
    """List the three tests that the verdict rests on, and the probe."""
    found = []
    for name in (*MUST_NOT_TELL, *MUST_NOT_LOSE, PROBE):
        score = audit.assessment.of(name)
        colour = RELIES if score.caught == "yes" else KEEPS_RULE
        if name in MUST_NOT_LOSE:
            detail = f"change in AUC; 95 % interval {signed_spread(score.change_low, score.change_high)}; "
            found.append(Fact(title(name), signed(score.change), detail + _compare_to_limit(score), colour))
        else:
            detail = f"AUC; 95 % interval {spread(score.ci_low, score.ci_high)}; {_compare_to_limit(score)}"
            found.append(Fact(title(name), number(score.auc), detail, colour))
    return found


def _compare_to_limit(score: AlterationScore) -> str:
    return "beyond the limit" if score.caught == "yes" else "within the limit"


def _about_probe(assessment: ShortcutAssessment) -> str:
    probe = assessment.of(PROBE)
    if not assessment.frame_tells:
        return f"A simple model that learnt from frame and texts alone told nothing either (AUC {_auc(probe)})."
    warning = f"Frame and texts do give the class away: a simple model that learnt from them alone had {_auc(probe)}."
    if assessment.relies:
        return warning
    return f"{warning} This model does not seem to use them; another one, trained on the same pictures, may."


def _auc(score: AlterationScore) -> str:
    return f"{number(score.auc)} ({spread(score.ci_low, score.ci_high)})"


def _listed(parts: list[str]) -> str:
    text = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"
    return text[0].upper() + text[1:]


def _plate(audit: ShortcutAudit, name: str, heading: str, figure: Figure) -> Plate:
    return mark_plate(name, heading, "", figure, simulated=audit.simulated)


def _example(folder: Path, alteration: str, patient: str, modality: str) -> Path:
    return folder / "examples" / alteration / f"{as_file_name(f'{patient}-{modality}')}.png"


def _colour(score: AlterationScore) -> str:
    """Choose a colour: alarming where the rule is broken, calm where it is kept, grey where it tests nothing."""
    return LIGHT[{"yes": RELIES, "no": KEEPS_RULE}.get(score.caught, NOT_TESTED)]


def _draw_aucs(assessment: ShortcutAssessment) -> Figure:
    """Draw the AUC of every alteration, with chance and the limit of the rule."""
    scores = assessment.scores
    figure, axes = empty_rows(
        [(title(score.alteration), score.alteration in (*MUST_NOT_TELL, PROBE)) for score in scores]
    )
    axes.axvline(CHANCE, color=INK, lw=0.9, zorder=1)
    axes.axvline(LIMIT, color=MUTED, lw=0.9, ls=(0, (3, 2)), zorder=1)
    for y, score in enumerate(scores):
        probe = score.alteration == PROBE
        colour = _colour(score) if score.alteration in (*MUST_NOT_TELL, PROBE) else LIGHT[NOT_TESTED]
        draw_interval(axes, y, score.auc, score.ci_low, score.ci_high, colour, fused=probe)
        write_note(axes, y, f"{number(score.auc)} ({spread(score.ci_low, score.ci_high)})")
        if y and probe:
            axes.axhline(y - 0.6, color=LINE, lw=0.8)
    axes.set_xlim(min(0.4, start_of_axis(score.ci_low for score in scores)), 1.015)
    axes.set_xlabel(f"AUC, 95 % interval; line: chance, dashes: limit ({LIMIT:.2f})")
    return figure


def _draw_changes(assessment: ShortcutAssessment) -> Figure:
    """Draw the paired change in AUC against the unaltered pictures, with the limit for painted-over texts."""
    scores = [score for score in assessment.scores if score.alteration not in (UNALTERED, PROBE)]
    figure, axes = empty_rows([(title(score.alteration), score.alteration in MUST_NOT_LOSE) for score in scores])
    axes.axvline(0, color=INK, lw=0.9, zorder=1)
    for y, score in enumerate(scores):
        tested = score.alteration in MUST_NOT_LOSE
        if tested:
            axes.plot([-AUC_MARGIN] * 2, [y - 0.2, y + 0.2], color=MUTED, lw=0.9, ls=(0, (3, 2)), zorder=1)
        colour = _colour(score) if tested else LIGHT[NOT_TESTED]
        draw_interval(axes, y, score.change, score.change_low, score.change_high, colour, fused=False)
        write_note(axes, y, f"{signed(score.change)} ({signed_spread(score.change_low, score.change_high)})")
    ends = [x for score in scores for x in (score.change_low, score.change_high) if np.isfinite(x)]
    axes.set_xlim(1.1 * min([-0.1 / 1.1, *ends]), 1.1 * max([0.05 / 1.1, *ends]))
    axes.set_xlabel("Change in AUC, 95 % interval, same patients")
    return figure


def _draw_example(audit: ShortcutAudit, patient: str) -> Figure:
    """Draw a patient's pictures: a row per modality, a column per alteration."""
    shown, modalities = audit.examples[patient], audit.record.modalities
    side = FIGURE_WIDTH / len(shown)
    figure = Figure(figsize=(FIGURE_WIDTH, (side - 0.08) * len(modalities) + 0.4), layout="constrained")
    panels = figure.subplots(len(modalities), len(shown), squeeze=False)
    for row, modality in enumerate(modalities):
        for column, (name, files) in enumerate(shown.items()):
            axes = panels[row, column]
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if row == 0:
                axes.set_title(title(name), fontsize=7.5, fontweight="normal", pad=4, color=INK)
            if column == 0:
                axes.set_ylabel(short_title(modality), fontsize=7.5)
            if modality in files:
                axes.imshow(np.asarray(Image.open(files[modality])), interpolation="none")
            else:
                axes.set(facecolor=LINE, aspect="equal")
                axes.text(0.5, 0.5, "no picture", ha="center", va="center", fontsize=7, color=MUTED)
    return figure
