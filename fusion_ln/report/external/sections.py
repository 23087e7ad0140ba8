"""Sections of an evaluation's page, each with its figures and tables."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from fusion_ln.evaluation.external.answers import ExternalAnswers
from fusion_ln.evaluation.external.differences import (
    compare_classes,
    compare_findings,
    compare_pictures,
    compare_presence,
    predicted_classes,
    set_sizes,
)
from fusion_ln.evaluation.external.figures import Figures
from fusion_ln.evaluation.external.points import malignant_classes
from fusion_ln.evaluation.external.recalibrate import RELIABLE_FROM, Recalibration
from fusion_ln.evaluation.external.record import EvaluationRecord
from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.evaluation.probabilities.calibration import reliability
from fusion_ln.evaluation.probabilities.decision import decision_curve
from fusion_ln.evaluation.probabilities.recalibration import FEWEST_CALIBRATED, calibration_curves
from fusion_ln.evaluation.roc import roc_band
from fusion_ln.evaluation.subgroups import NEEDS, subgroups
from fusion_ln.metrics import PRIMARY
from fusion_ln.report.external import figures as draw
from fusion_ln.report.external.text import MEAN, shift_of
from fusion_ln.report.kit.figures import WIDE, Plate
from fusion_ln.report.kit.sheets import Sheet

MEANS = {"mean_model": "Own study", "mean_other": "Other cohort", "difference": "SD apart"}
BAND_DRAWS = 500  # of the bootstrap behind bands
OTHER_COHORT = "Other cohort"
SHARE_HEADINGS = {"n_model": "Own study", "share_model": "Share", "n_other": OTHER_COHORT, "share_other": "Share"}


@dataclass(frozen=True)
class Part:
    """A section: its heading, a paragraph, figures and tables; tables that are not ``shown`` are CSV files only."""

    anchor: str
    title: str
    subtitle: str
    text: str
    plates: Sequence[Plate] = ()
    sheets: Sequence[Sheet] = ()
    hidden: Sequence[Sheet] = ()
    is_open: bool = False
    left_out: Sequence[str] = ()

    @property
    def is_wide(self) -> bool:
        """True if its figures have rows of text, which need room."""
        return any(plate.figure.get_figwidth() >= WIDE for plate in self.plates)


def build_parts(
    record: EvaluationRecord, figures: Figures | None, answers: ExternalAnswers, again: Recalibration | None
) -> list[Part]:
    """Build the sections of the page; without labels, what differs alone."""
    differs = [cohort_differences(record), predictions_drift(record, answers)]
    if figures is None:
        return differs
    simulated = record.cohort.simulated
    parts = [
        discrimination(record, figures, answers),
        calibration(figures, answers, simulated),
        frozen_points(figures, simulated),
        coverage(figures),
        decisions(record, answers),
        by_subgroup(answers, simulated),
        *differs,
        recalibrated(again),
    ]
    return [part for part in parts if part is not None]


def discrimination(record: EvaluationRecord, figures: Figures, answers: ExternalAnswers) -> Part:
    """Show the AUC and the ROC curve of each class."""
    bands = {name: roc_band(answers.predictions, name, n_resamples=BAND_DRAWS) for name in answers.classes}
    rows = [(ALL_CLASSES, figures.auc_ovr), *figures.auc.items()]
    table = pd.DataFrame([(name, f.value, f.low, f.high) for name, f in rows], columns=["class", "auc", *_ends("auc")])
    if own := record.model.auc:
        inside = [own[MEAN if name == ALL_CLASSES else name] for name, _ in rows]
        for end, column in (("value", "own"), ("low", "own_low"), ("high", "own_high")):
            table[column] = [getattr(each, end) for each in inside]
    return Part(
        "discrimination",
        "Discrimination",
        "each class against the rest",
        "AUC: the chance that a patient of the class has a higher probability of it than a patient of another class. "
        "Bands: pointwise 95 % bootstrap intervals over patients.",
        plates=[
            draw.draw_roc(name, band, figures.auc[name].value, record.cohort.simulated) for name, band in bands.items()
        ],
        sheets=[Sheet("auc", "AUC", table, {"auc": OTHER_COHORT, "own": "Own study, out of fold"})],
    )


def calibration(figures: Figures, answers: ExternalAnswers, simulated: bool) -> Part:
    """Show slope, intercept and curve of each class."""
    predictions = answers.predictions
    curves, bins = calibration_curves(predictions, n_resamples=BAND_DRAWS), reliability(predictions)
    rows = [
        (name, slope.value, slope.low, slope.high, intercept.value, intercept.low, intercept.high)
        for (name, slope), intercept in zip(figures.slope.items(), figures.intercept.values(), strict=True)
    ]
    columns = ["class", "slope", *_ends("slope"), "intercept", *_ends("intercept")]
    plates = [
        draw.draw_calibration(
            name,
            curves[curves["class"] == name],
            bins[bins["class"] == name],
            predictions.probs[:, c],
            predictions.labels == c,
            simulated,
        )
        for c, name in enumerate(answers.classes)
    ]
    return Part(
        "calibration",
        "Calibration",
        "do probabilities mean there what they say?",
        "On the diagonal, of 100 patients with a probability of 0.7, 70 have the class. Line: smoothed, with its "
        "95 % bootstrap band; dots: ten bins of equal mass (Wilson). Below: how often each probability is given, to "
        "patients of the class (dark, upwards) and to the others. Slope: 1 is right, below 1 the model is too sure. "
        "Intercept: 0 is right, above 0 the class is more common than predicted. No interval under "
        f"{FEWEST_CALIBRATED} patients of a class.",
        plates=plates,
        sheets=[Sheet("calibration", "Slope and intercept", pd.DataFrame(rows, columns=columns))],
        hidden=[Sheet("reliability", "Bins", bins), Sheet("calibration_curves", "Curves", curves)],
    )


def frozen_points(figures: Figures, simulated: bool) -> Part:
    """Show what the frozen thresholds give, and how far that is from where they were chosen."""
    subtitle = "thresholds chosen before, not touched here"
    if not figures.operating_points:
        reason = "The model brings no threshold: its study had too few patients to choose one."
        return Part("points", "Frozen operating points", subtitle, reason)
    rows = []
    for result in figures.operating_points:
        for name in ("sensitivity", "specificity"):
            found, chosen, drift = getattr(result, name), getattr(result.point, name), getattr(result, f"{name}_drift")
            shares = [number for each in (found, chosen, drift) for number in (each.value, each.low, each.high)]
            rows.append((result.point.title, result.point.threshold, name, found.hits, found.n, *shares))
    columns = ["point", "threshold", "figure", "hits", "n", "found", *_ends("found"), "chosen", *_ends("chosen")]
    table = pd.DataFrame(rows, columns=[*columns, "drift", *_ends("drift")])
    headings = {"hits": "Right", "found": OTHER_COHORT, "chosen": "Where chosen", "point": "Operating point"}
    return Part(
        "points",
        "Frozen operating points",
        subtitle,
        "A test is positive from the threshold of the calibrated probability on. It was chosen on out-of-fold "
        "predictions of the model’s own study. Drift: the other cohort less these; Wilson intervals, and MOVER for "
        "the drift.",
        plates=[draw.draw_points(figures, simulated)],
        sheets=[Sheet("operating_points", "Operating points", table, headings)],
    )


def coverage(figures: Figures) -> Part:
    """Show how often the sets hold the true class."""
    rows = [
        (name, each.n, each.hits, each.value, each.low, each.high, figures.set_size[name])
        for name, each in figures.coverage.items()
    ]
    columns = ["class", "n", "covered", "coverage", *_ends("coverage"), "mean_size"]
    return Part(
        "sets",
        "Sets of classes",
        "is the true class among those that cannot be ruled out?",
        "Sets by CV+ from the scores of the model’s own study, made to hold the true class of 90 % of each class’s "
        "patients, should these be like the study’s. Intervals: Wilson.",
        sheets=[
            Sheet("coverage", "Coverage", pd.DataFrame(rows, columns=columns), {"mean_size": "Classes in a set, mean"})
        ],
    )


def decisions(record: EvaluationRecord, answers: ExternalAnswers) -> Part | None:
    """Show the net benefit of acting on the probability of malignancy; None where no class is benign."""
    positive = malignant_classes(answers.classes)
    if not positive:
        return None
    table = decision_curve(answers.predictions, positive)
    thresholds = [point.threshold for point in record.model.points if point.positive == positive]
    return Part(
        "decisions",
        "Decisions",
        f"{' or '.join(positive)} against the rest",
        "Whether to act on a patient, such as to take a biopsy. Whoever acts from 0.1 on would rather take nine "
        "biopsies of benign nodes than miss one malignant one. Where the curve lies under “act on everyone” or under "
        "“act on no one”, the model does harm at that threshold.",
        plates=[draw.draw_decisions(table, " or ".join(positive), thresholds, record.cohort.simulated)],
        hidden=[Sheet("decision_curve", "Net benefit", table)],
    )


def by_subgroup(answers: ExternalAnswers, simulated: bool) -> Part | None:
    """Score the levels of each variable; None where patients differ in none."""
    plates, tables = [], []
    for variable, levels in answers.groups.items():
        found = subgroups(answers.predictions, levels, n_resamples=BAND_DRAWS)
        own = found.metrics[(found.metrics["metric"] == PRIMARY) & (found.metrics["class"] == ALL_CLASSES)]
        plates.append(draw.draw_subgroups(variable, found.counts, own, simulated))
        shown = found.counts.drop(columns="scored").merge(own.drop(columns=["metric", "class"]), on="level", how="left")
        tables.append(shown.rename(columns={"value": "auc"}).assign(variable=variable))
    if not tables:
        return None
    table = pd.concat(tables, ignore_index=True)
    table = table[["variable", *table.columns.drop("variable")]]
    return Part(
        "subgroups",
        "Subgroups",
        f"by {', '.join(answers.groups)}",
        f"Each level on its own. A level with fewer than {NEEDS} patients of some class has no interval: none would "
        "hold. With fewer than two it is counted, not scored. Not corrected for their number.",
        plates=plates,
        sheets=[Sheet("subgroups", "AUC by subgroup", table, {"auc": "AUC"})],
    )


def cohort_differences(record: EvaluationRecord) -> Part:
    """Show in what the two cohorts differ, as far as the model's own description tells."""
    profile, other = record.model.profile, record.cohort.profile
    title, subtitle = "What differs", f"{record.cohort.name} and the model’s own study of {record.model.study}"
    sheets = []
    if record.cohort.classes:
        classes = compare_classes(record.model.patients, record.cohort.classes)
        sheets.append(Sheet("classes", "Classes", classes, SHARE_HEADINGS))
    if profile is None:
        reason = "the model brings no description of its own cohort’s pictures, findings and gaps"
        return Part("differences", title, subtitle, "", sheets=sheets, left_out=[reason])
    pictures, findings = compare_pictures(profile, other), compare_findings(profile, other)
    kind = ""
    if shift := shift_of(record):
        kind = f"{shift.sentence} "
        headings = {"p_corrected": "p, corrected", "chi2": "Chi-square", "df": "df", "largest": "Largest difference"}
        sheets.insert(0, Sheet("shift", "Kind of shift", shift.tests, headings))
    sheets.append(Sheet("presence", "Pictures that patients have", compare_presence(profile, other), SHARE_HEADINGS))
    sheets.append(Sheet("pictures", "Pictures, as the networks see them", pictures, MEANS))
    if len(findings):
        headings = {"model": "Own study", "other": OTHER_COHORT, "known_model": "Known", "known_other": "Known"}
        sheets.append(Sheet("findings", "Findings", findings, headings | {"difference": "SD apart"}))
    return Part(
        "differences",
        title,
        subtitle,
        f"{kind}The model carries its own cohort in figures of all patients, never of one. SD apart: difference of the "
        "means over the standard deviation of the model’s own pictures or patients; beyond half of one the "
        "pictures come from another setting of the scanner or from other patients.",
        plates=[draw.draw_differences(pictures, record.cohort.simulated)] if len(pictures) else [],
        sheets=sheets,
        is_open=not record.labels,
    )


def predictions_drift(record: EvaluationRecord, answers: ExternalAnswers) -> Part:
    """Show what the predictions look like, without the true classes."""
    own = pd.Series(record.model.patients, dtype=float)
    table = predicted_classes(answers.classes, answers.probs, (own / own.sum()).to_numpy())
    return Part(
        "predictions",
        "What the predictions look like",
        "no true class is used",
        "Were the patients like those of the study, the mean probability of a class would be its share there. "
        "Estimated share: that at which the probabilities agree with themselves (Saerens et al. 2002), right only if "
        "pictures of a class look alike in both places; 95 % bootstrap interval over patients.",
        sheets=[
            Sheet("predicted_classes", "Classes", table, {"share_model": "Share in the study"}),
            Sheet("set_sizes", "Sizes of the sets", set_sizes(answers.member), {"classes": "Classes in the set"}),
        ],
        is_open=not record.labels,
    )


def recalibrated(again: Recalibration | None) -> Part | None:
    """Show the figures after recalibration on some local cases; None without any."""
    if again is None:
        return None
    figures = [("log loss", ALL_CLASSES, again.log_loss), ("AUC", ALL_CLASSES, again.auc_ovr)]
    for name in ("slope", "intercept", "thresholds", "sensitivity", "specificity"):
        figures += [(name.removesuffix("s"), of, spread) for of, spread in getattr(again, name).items()]
    rows = [(n, of, s.frozen, s.recalibrated.value, s.recalibrated.low, s.recalibrated.high) for n, of, s in figures]
    columns = ["figure", "of", "frozen", "recalibrated", *_ends("recalibrated")]
    few = (
        f" A threshold from fewer than {RELIABLE_FROM} cases is unreliable: look at its spread."
        if again.cases < RELIABLE_FROM
        else ""
    )
    return Part(
        "recalibrated",
        f"Recalibrated on {again.cases} local cases",
        "a result of its own, not that of the frozen model",
        f"{again.cases} patients were drawn {again.draws} times, a temperature and a shift per class were learnt from "
        "them, the thresholds that find 95 % were chosen anew, and the other patients were scored. Mean over the "
        f"draws and their middle 95 %: the spread that one hospital’s choice of cases makes.{few}"
        + (f" {again.left_out} draws lacked patients of some class." if again.left_out else ""),
        sheets=[
            Sheet(
                "recalibrated",
                "Frozen and recalibrated",
                pd.DataFrame(rows, columns=columns),
                words={"of": {ALL_CLASSES: "All classes"}},
            )
        ],
    )


def _ends(name: str) -> list[str]:
    return [f"{name}_low", f"{name}_high"]
