"""Recalibration on a few local cases, drawn many times: a result beside the frozen figures, never in their place."""

from collections.abc import Sequence

import numpy as np
from pydantic import FiniteFloat

from fusion_ln.errors import PredictionsError, SettingsError
from fusion_ln.evaluation.external.figures import PointEstimate
from fusion_ln.evaluation.external.points import OperatingPoint, rates_at
from fusion_ln.evaluation.limits.auc import aucs
from fusion_ln.evaluation.limits.shares import middle
from fusion_ln.evaluation.probabilities.decision import TARGET_SENSITIVITY, threshold_for
from fusion_ln.evaluation.probabilities.maps import fit_map
from fusion_ln.evaluation.probabilities.recalibration import LOGIT_FLOOR, fit_logistic
from fusion_ln.metrics import need_patients
from fusion_ln.predictions import Predictions
from fusion_ln.records.parts import Strict

CASE_DRAWS = 200
LEAST_LEFT = 10  # patients of a class, and of the rest, who are left to be scored
RELIABLE_FROM = 200  # local cases below which a threshold learnt anew is not to be relied on
OPTION = "--recalibrate"


class Spread(Strict):
    """A figure as frozen, and over the draws after recalibration: mean and middle 95 %, on the patients not drawn."""

    frozen: FiniteFloat
    recalibrated: PointEstimate


class Recalibration(Strict):
    """Figures after recalibration on ``cases`` local cases, over many draws of them.

    Attributes:
        cases: Local cases whose labels the recalibration sees.
        draws: Draws that count.
        left_out: Draws that lacked a class among the cases, or enough patients of one among the others.
        log_loss, auc_ovr: Over all classes.
        slope, intercept: Of each class.
        thresholds: Operating points of a fixed sensitivity, chosen anew on the cases, by name.
        sensitivity, specificity: At these thresholds.
    """

    cases: int
    draws: int
    left_out: int
    log_loss: Spread
    auc_ovr: Spread
    slope: dict[str, Spread]
    intercept: dict[str, Spread]
    thresholds: dict[str, Spread]
    sensitivity: dict[str, Spread]
    specificity: dict[str, Spread]


def check_cases(cases: int, patients: int, n_classes: int) -> None:
    """Refuse a number of local cases that leaves too few of the patients to be scored.

    Raises:
        SettingsError: With the numbers that would do.
    """
    most = patients - LEAST_LEFT * n_classes
    if not n_classes <= cases <= most:
        raise SettingsError(
            f"{OPTION} {cases}: there are {patients} patients, of whom {LEAST_LEFT} of each class must be left to be "
            "scored.",
            f"Give a number from {n_classes} to {most}." if most >= n_classes else "The cohort is too small.",
        )


def recalibrate(
    predictions: Predictions, points: Sequence[OperatingPoint], cases: int, *, draws: int = CASE_DRAWS, seed: int = 0
) -> Recalibration:
    """Recalibrate on ``cases`` patients drawn without replacement, and score the others, many times.

    The map is that of `fit_map`: a temperature and offsets, shrunk towards no change; operating points of a fixed
    sensitivity get the threshold that the cases give.

    Raises:
        SettingsError: If there are too few patients for ``cases`` of them to be taken away.
    """
    labels, classes = predictions.labels, predictions.classes
    check_cases(cases, len(labels), len(classes))
    rng = np.random.default_rng(seed)
    anew = [point for point in points if point.kind == "sensitive"]
    found, left_out = [], 0
    for _ in range(draws):
        drawn = np.zeros(len(labels), dtype=bool)
        drawn[rng.choice(len(labels), cases, replace=False)] = True
        try:
            found.append(_score_draw(predictions, drawn, anew))
        except PredictionsError:
            left_out += 1
    if not found:
        raise SettingsError(
            f"{OPTION} {cases}: no draw of so many cases has a patient of every class and leaves {LEAST_LEFT}.",
            "Give another number, or a larger cohort.",
        )
    frozen = _figures(labels, classes, predictions.probs, {p.name: (p, p.threshold) for p in anew})
    values = {key: np.array([draw[key] for draw in found]) for key in frozen}
    spreads = {key: _spread(value, values[key]) for key, value in frozen.items()}

    def of(figure: str) -> dict[str, Spread]:
        return {name: spread for (kind, name), spread in spreads.items() if kind == figure}

    return Recalibration(
        cases=cases,
        draws=len(found),
        left_out=left_out,
        log_loss=spreads["log_loss", ""],
        auc_ovr=spreads["auc_ovr", ""],
        slope=of("slope"),
        intercept=of("intercept"),
        thresholds=of("threshold"),
        sensitivity=of("sensitivity"),
        specificity=of("specificity"),
    )


def _score_draw(
    predictions: Predictions, drawn: np.ndarray, anew: Sequence[OperatingPoint]
) -> dict[tuple[str, str], float]:
    """Recalibrate on the drawn patients and score the others.

    Raises:
        PredictionsError: If a class is missing among the drawn, or has too few patients among the others.
    """
    labels, classes, probs = predictions.labels, predictions.classes, predictions.probs
    need_patients(labels[~drawn], classes, at_least=LEAST_LEFT)
    found = fit_map(probs[drawn], labels[drawn], classes)
    adapted = found.apply(probs)
    thresholds = {}
    for point in anew:
        columns = [classes.index(name) for name in point.positive]
        risk, diseased = adapted[drawn][:, columns].sum(axis=1), np.isin(labels[drawn], columns)
        thresholds[point.name] = (point, threshold_for(risk[diseased], TARGET_SENSITIVITY))
    return _figures(labels[~drawn], classes, adapted[~drawn], thresholds)


def _figures(
    labels: np.ndarray, classes: tuple[str, ...], probs: np.ndarray, points: dict[str, tuple[OperatingPoint, float]]
) -> dict[tuple[str, str], float]:
    """Compute the figures that recalibration changes, by kind and by class or operating point."""
    own = probs[np.arange(len(labels)), labels]
    found = {("log_loss", ""): float(-np.log(own.clip(LOGIT_FLOOR)).mean())}
    found["auc_ovr", ""] = float(aucs(labels, probs).macro)
    for c, name in enumerate(classes):
        events, clipped = labels == c, probs[:, c].clip(LOGIT_FLOOR, 1 - LOGIT_FLOOR)
        logits = np.log(clipped / (1 - clipped))
        constant = np.ones((len(logits), 1))
        nothing = iter(())
        found["intercept", name] = float(fit_logistic(constant, events, nothing, offset=logits)[0, 0])
        line = np.column_stack([constant, logits])
        found["slope", name] = float(fit_logistic(line, events, nothing)[0, 1])
    for name, (point, threshold) in points.items():
        columns = [classes.index(each) for each in point.positive]
        rates = rates_at(probs[:, columns].sum(axis=1), np.isin(labels, columns), threshold)
        found["threshold", name] = threshold
        found["sensitivity", name], found["specificity", name] = rates[0].value, rates[1].value
    return found


def _spread(frozen: float, draws: np.ndarray) -> Spread:
    low, high = middle(draws)
    return Spread(frozen=frozen, recalibrated=PointEstimate.of(float(draws.mean()), float(low), float(high)))
