"""Figures of a frozen model on another cohort, each with its 95 % interval; the model is taken as given."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pydantic import FiniteFloat

from fusion_ln.evaluation.external.answers import ExternalAnswers
from fusion_ln.evaluation.external.points import OperatingPoint, Rate, rates_at
from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.evaluation.limits.auc import aucs
from fusion_ln.evaluation.limits.shares import difference_limits
from fusion_ln.evaluation.probabilities.recalibration import recalibration
from fusion_ln.metrics import need_patients
from fusion_ln.records.parts import Strict

SENSITIVITY, SPECIFICITY = "sensitivity", "specificity"


class PointEstimate(Strict):
    """A figure and the ends of its 95 % interval; None where there is none."""

    value: FiniteFloat | None
    low: FiniteFloat | None
    high: FiniteFloat | None

    @classmethod
    def of(cls, value: float | None, low: float | None, high: float | None) -> "PointEstimate":
        """Make an estimate of numbers; NaN becomes None."""
        known = [None if number is None or not np.isfinite(number) else float(number) for number in (value, low, high)]
        return cls(value=known[0], low=known[1], high=known[2])


class PointResult(Strict):
    """Figures of a frozen operating point on another cohort.

    Attributes:
        point: The point, with what it gave on the patients whom it was chosen on.
        sensitivity, specificity: On the other cohort.
        sensitivity_drift, specificity_drift: There less here; MOVER from Wilson's limits of the two.
    """

    point: OperatingPoint
    sensitivity: Rate
    specificity: Rate
    sensitivity_drift: PointEstimate
    specificity_drift: PointEstimate


class Figures(Strict):
    """Figures of a model on another cohort.

    Attributes:
        auc_ovr: Mean of the classes' AUCs, each against the rest (DeLong on the logit scale).
        auc: Of each class against the rest.
        slope, intercept: Calibration of each class, see `recalibration`.
        coverage: Share of the patients whose set holds their class (Wilson), by class and under `ALL_CLASSES`.
        set_size: Mean number of classes in a set, by class and under `ALL_CLASSES`.
        operating_points: Of every point that the model brings.
    """

    auc_ovr: PointEstimate
    auc: dict[str, PointEstimate]
    slope: dict[str, PointEstimate]
    intercept: dict[str, PointEstimate]
    coverage: dict[str, Rate]
    set_size: dict[str, FiniteFloat]
    operating_points: tuple[PointResult, ...]

    def endpoints(self) -> dict[str, PointEstimate]:
        """List the figures that a protocol may name, see `endpoint_names`."""
        found = {"auc_ovr": self.auc_ovr}
        for figure, values in (("auc", self.auc), ("slope", self.slope), ("intercept", self.intercept)):
            found |= {f"{figure}:{name}": value for name, value in values.items()}
        found |= {_coverage_name(name): _estimate(rate) for name, rate in self.coverage.items()}
        for each in self.operating_points:
            found[f"{SENSITIVITY}:{each.point.name}"] = _estimate(each.sensitivity)
            found[f"{SPECIFICITY}:{each.point.name}"] = _estimate(each.specificity)
        return found


def endpoint_names(classes: Sequence[str], points: Sequence[OperatingPoint]) -> list[str]:
    """Name the figures that a protocol may choose its endpoint from, as in ``auc:lymphoma``; no patient is needed."""
    by_class = [f"{figure}:{name}" for figure in ("auc", "slope", "intercept") for name in classes]
    rates = [f"{rate}:{point.name}" for point in points for rate in (SENSITIVITY, SPECIFICITY)]
    return ["auc_ovr", *by_class, *(_coverage_name(name) for name in [*classes, ALL_CLASSES]), *rates]


def score_external(answers: ExternalAnswers, points: Sequence[OperatingPoint]) -> Figures:
    """Compute the figures of a model's answers.

    Args:
        answers: With the true classes.
        points: Operating points that were fixed before.

    Raises:
        PredictionsError: If a class has fewer than 2 patients.
    """
    predictions = answers.predictions
    classes, labels = answers.classes, predictions.labels
    need_patients(labels, classes, at_least=2)
    ranked = aucs(labels, predictions.probs)
    calibration = recalibration(predictions)
    groups = {name: labels == c for c, name in enumerate(classes)} | {ALL_CLASSES: np.ones(len(labels), dtype=bool)}
    held, size = answers.member[np.arange(len(labels)), labels], answers.member.sum(axis=1)
    return Figures(
        auc_ovr=PointEstimate.of(float(ranked.macro), *map(float, ranked.macro_limits)),
        auc={
            name: PointEstimate.of(*map(float, row))
            for name, *row in zip(classes, ranked.by_class, *ranked.limits, strict=True)
        },
        slope=_by_class(calibration, "slope"),
        intercept=_by_class(calibration, "intercept"),
        coverage={name: Rate.of(int(held[group].sum()), int(group.sum())) for name, group in groups.items()},
        set_size={name: float(size[group].mean()) for name, group in groups.items()},
        operating_points=tuple(score_point(point, classes, labels, predictions.probs) for point in points),
    )


def score_point(point: OperatingPoint, classes: Sequence[str], labels: np.ndarray, probs: np.ndarray) -> PointResult:
    """Compute what a frozen operating point gives, and how far that is from where it was chosen."""
    columns = [list(classes).index(name) for name in point.positive]
    sensitivity, specificity = rates_at(probs[:, columns].sum(axis=1), np.isin(labels, columns), point.threshold)
    return PointResult(
        point=point,
        sensitivity=sensitivity,
        specificity=specificity,
        sensitivity_drift=_drift(sensitivity, point.sensitivity),
        specificity_drift=_drift(specificity, point.specificity),
    )


def _drift(found: Rate, chosen: Rate) -> PointEstimate:
    """Subtract the share of other patients, who are independent of the first."""
    a, b = np.array(found.value), np.array(chosen.value)
    limits = [(np.array(rate.low), np.array(rate.high)) for rate in (found, chosen)]
    low, high = difference_limits(a, b, limits[0], limits[1], np.array(0.0))
    return PointEstimate.of(found.value - chosen.value, float(low), float(high))


def _by_class(table: pd.DataFrame, figure: str) -> dict[str, PointEstimate]:
    rows = table[["class", figure, f"{figure}_low", f"{figure}_high"]].itertuples(index=False, name=None)
    return {str(name): PointEstimate.of(*values) for name, *values in rows}


def _coverage_name(of_class: str) -> str:
    return "coverage" if of_class == ALL_CLASSES else f"coverage:{of_class}"


def _estimate(rate: Rate) -> PointEstimate:
    return PointEstimate(value=rate.value, low=rate.low, high=rate.high)
