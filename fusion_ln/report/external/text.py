"""Sentences of an evaluation: the verdict first, then calibration, operating points, sets, and the limits."""

from collections.abc import Mapping

from fusion_ln.evaluation.external.figures import Figures, PointEstimate, PointResult
from fusion_ln.evaluation.external.points import Rate
from fusion_ln.evaluation.external.record import Endpoint, EvaluationRecord
from fusion_ln.evaluation.external.shift import ShiftFound, find_shift
from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.evaluation.probabilities.cv_plus import MISS_RATE
from fusion_ln.report.kit.sheets import Fact
from fusion_ln.report.kit.style import number, percent, spread
from fusion_ln.terms import SIMULATED, listed

MEAN = "mean"  # of the classes, among a model's own AUCs
TITLES = {
    "auc_ovr": "AUC",
    "auc": "AUC",
    "slope": "calibration slope",
    "intercept": "calibration intercept",
    "coverage": "coverage of the sets",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}


def verdict(record: EvaluationRecord, figures: Figures | None) -> str:
    """Answer the protocol's endpoint or, without one, state the AUC."""
    if figures is None:
        return f"{record.cohort.predicted} {_patients(record)} were predicted; no true class was looked at."
    if record.endpoint:
        return _judged(record.endpoint)
    return (
        f"On {record.cohort.predicted} {_patients(record)} of {record.cohort.name}, none of whom it had seen, the "
        f"model reached an AUC of {estimate(figures.auc_ovr)}."
    )


def _judged(endpoint: Endpoint) -> str:
    """State whether the endpoint met its margin."""
    kind, _, of = endpoint.name.partition(":")
    title = TITLES[kind] + (f" of {of}" if of else "")
    asked = f"a value within {number(endpoint.margin, 2)} of {1 if kind == 'slope' else 0}"
    if kind not in ("slope", "intercept"):
        asked = f"at least {number(endpoint.margin, 2)}"
    start = {
        "met": "The primary endpoint was met",
        "not met": "The primary endpoint was not met",
        "not shown": "The primary endpoint was neither met nor missed",
    }[endpoint.verdict]
    return f"{start}: {title} {estimate(endpoint.found)}; the protocol asked for {asked}."


def lead(record: EvaluationRecord, figures: Figures | None) -> str:
    """State what differs, calibration, operating points and sets in a few sentences."""
    if figures is None:
        return (
            "Below stands what can be said without labels: how the pictures, the gaps and the predictions differ from "
            "those of the model’s own study. None of it shows that the model is right there, nor that it is wrong. "
            + unlike_in_words(record)
        ).strip()
    sentences = [calibration_in_words(figures), *(point_in_words(each) for each in figures.operating_points[:1])]
    if shift := shift_of(record):
        sentences.insert(0, shift.sentence)
    return " ".join([*sentences, coverage_in_words(figures.coverage), unlike_in_words(record)]).strip()


def shift_of(record: EvaluationRecord) -> ShiftFound | None:
    """Tell in which ways the two cohorts differ; None without labels, or where the model does not describe its own."""
    if record.model.profile is None or not record.cohort.classes:
        return None
    return find_shift(record.model.patients, record.model.profile, record.cohort.classes, record.cohort.profile)


def unlike_in_words(record: EvaluationRecord) -> str:
    """Say how many patients lie outside what the model knows; empty where the model does not tell."""
    found, of = record.cohort.unlike, record.cohort.predicted
    if found is None:
        return ""
    return f"Of {of} patients {found} ({percent(found / of)}) have a picture unlike all that the model learnt from."


def calibration_in_words(figures: Figures) -> str:
    """Say of which classes the slope's interval leaves out 1."""
    sure = [name for name, slope in figures.slope.items() if slope.high is not None and slope.high < 1]
    unsure = [name for name, slope in figures.slope.items() if slope.low is not None and slope.low > 1]
    shifted = [
        n for n, i in figures.intercept.items() if i.low is not None and i.high is not None and i.low * i.high > 0
    ]
    unknown = [name for name, slope in figures.slope.items() if slope.low is None]
    flat = [name for name in unknown if figures.intercept[name].low is not None]
    parts = [
        (sure, "Its probabilities of {} are too sure there (slope below 1)."),
        (unsure, "Its probabilities of {} are too cautious there (slope above 1)."),
        (shifted, "The share of {} is not the one that it predicts (intercept away from 0)."),
        (flat, "The probabilities of {} give no slope: they hardly differ, or part the class without an error."),
        ([name for name in unknown if name not in flat], "Of {} there are too few patients to judge the calibration."),
    ]
    found = [text.format(listed(names)) for names, text in parts if names]
    return " ".join(found) or "Calibration: every class’s interval holds slope 1 and intercept 0."


def point_in_words(result: PointResult) -> str:
    """Say what a frozen operating point finds and spares."""
    found, spared = result.sensitivity, result.specificity
    return (
        f"The frozen threshold “{result.point.title}” finds {rate(found)} of {found.n} patients and spares "
        f"{rate(spared)} of the {spared.n} others."
    )


def coverage_in_words(coverage: Mapping[str, Rate]) -> str:
    """Say for which classes the sets hold the true one less often than promised."""
    short = [name for name, each in coverage.items() if name != ALL_CLASSES and each.high < 1 - MISS_RATE]
    lowest = min((name for name in coverage if name != ALL_CLASSES), key=lambda name: coverage[name].value)
    if short:
        return f"Sets miss {listed(short)} more often than the promised 10 %: {lowest} is in {rate(coverage[lowest])}."
    return f"Sets hold the true class about as promised (90 %): the lowest, {lowest}, in {rate(coverage[lowest])}."


def facts(record: EvaluationRecord, figures: Figures) -> list[Fact]:
    """Make the figures of the answer."""
    attainable = record.cohort.attainable
    known = f" · {number(attainable)} attainable" if attainable is not None else ""
    inside = record.model.auc.get(MEAN)
    own = f" · {number(_value(inside))} in its own study, out of fold" if inside else ""
    detail = f"95 % interval {_ends(figures.auc_ovr)}{own}{known}"
    found = [Fact("AUC", number(_value(figures.auc_ovr)), detail, "fusion")]
    for each in figures.operating_points[:1]:
        chosen = f"{percent(each.point.sensitivity.value)} where it was chosen"
        found.append(Fact("Found at the frozen threshold", percent(each.sensitivity.value), chosen))
    slopes = [slope.value for slope in figures.slope.values() if slope.value is not None]
    if slopes:
        ends = spread(min(slopes), max(slopes)) if len(slopes) > 1 else number(slopes[0])
        found.append(Fact("Calibration slopes", ends, "1 is right, below it too sure"))
    lowest = min(each.value for name, each in figures.coverage.items() if name != ALL_CLASSES)
    found.append(Fact("Lowest coverage of a class", percent(lowest), "sets that should hold 90 %"))
    return found


def alarms(record: EvaluationRecord) -> list[str]:
    """List what takes weight from the figures, a sentence each."""
    found = []
    if record.earlier:
        times = len(record.earlier)
        days = listed(list(dict.fromkeys(record.earlier)))
        found.append(
            f"NOT THE FIRST LOOK: this model was evaluated on this cohort {'once' if times == 1 else f'{times} times'} "
            f"before ({days}). What was changed after that look is not tested here."
        )
    if record.model.paper:
        found.append(
            "The model’s training stopped on the patients who then tested it (protocol paper): its calibration, sets "
            "and thresholds were learnt from figures that are too good."
        )
    if record.model.simulated and not record.cohort.simulated:
        found.append("The model was trained on simulated patients: it was not made for real ones.")
    return found


def fixed_before(record: EvaluationRecord) -> dict[str, str]:
    """List what was fixed before the cohort was seen, and how it can be checked."""
    model, protocol = record.model, record.protocol
    digest = model.digest or "none: a run, frozen for the occasion; `fusionln freeze` gives a model that can be named"
    found = {
        "Model": f"{model.title} ({model.name}), from the study of {model.study}, {sum(model.patients.values())} "
        f"{'simulated ' if model.simulated else ''}patients, frozen on {model.frozen}",
        "Digest": digest,
        "Cohort": f"{record.cohort.name}, {record.cohort.patients} patients, fingerprint {record.cohort.fingerprint}",
        "Evaluated": record.evaluated + (", for the first time" if not record.earlier and record.labels else ""),
    }
    if protocol:
        found["Protocol"] = f"SHA-256 {protocol.sha256}"
        found["Primary endpoint"] = f"{protocol.content.endpoint}, margin {protocol.content.margin:g}"
    elif record.labels:
        found["Protocol"] = "none: no endpoint was chosen before, so no figure here is a test that was passed"
    return found


def limits(record: EvaluationRecord) -> list[str]:
    """List what the evaluation must not be used for."""
    found = [
        "For research only: no figure here licenses a diagnosis.",
        "It holds for this hospital’s patients as they were collected; another hospital may differ as much again.",
        "Intervals take the model as given: only the patients vary.",
    ]
    if record.labels:
        found.append("Subgroups and classes other than the primary endpoint are exploratory.")
    if record.cohort.simulated:
        found.insert(0, f"Every patient here is {SIMULATED}: nothing follows for real ones.")
    return found


def describe(record: EvaluationRecord, figures: Figures | None) -> list[str]:
    """Say in a few lines for the terminal what was found."""
    lines = [*alarms(record), verdict(record, figures)]
    if figures:
        lines += [f"AUC {estimate(figures.auc_ovr)}."] if record.endpoint else []
        lines += [shift.sentence] if (shift := shift_of(record)) else []
        lines += [calibration_in_words(figures), *map(point_in_words, figures.operating_points)]
        lines.append(coverage_in_words(figures.coverage))
    lines += [unlike_in_words(record)] if record.cohort.unlike is not None else []
    skipped = record.cohort.patients - record.cohort.predicted
    if skipped:
        have = "patient has" if skipped == 1 else "patients have"
        lines.append(f"{skipped} {have} no picture that the model takes: not predicted.")
    return lines


def estimate(found: PointEstimate) -> str:
    """Write a figure with its interval: 0.918 (0.88–0.95)."""
    return (
        f"{number(_value(found))} ({_ends(found)})"
        if found.low is not None
        else f"{number(_value(found))}, no interval"
    )


def rate(found: Rate) -> str:
    """Write a share with its interval: 91 % (85–95 %)."""
    return f"{percent(found.value)} ({100 * found.low:.0f}–{percent(found.high)})"


def _ends(found: PointEstimate) -> str:
    if found.low is None or found.high is None:
        return "none"
    if found.low < 0:
        return f"{number(found.low, 2)} to {number(found.high, 2)}"
    return spread(found.low, found.high)


def _value(found: PointEstimate) -> float:
    return float("nan") if found.value is None else found.value


def _patients(record: EvaluationRecord) -> str:
    return f"{SIMULATED} patients" if record.cohort.simulated else "patients"
