"""Operating points of a model: thresholds that are fixed before it meets another cohort."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from fusion_ln.evaluation.limits.shares import share_interval
from fusion_ln.evaluation.probabilities.decision import TARGET_SENSITIVITY
from fusion_ln.records.parts import Share, Strict
from fusion_ln.terms import NOT_MALIGNANT

TARGET_SPECIFICITY = 0.90
PointKind = Literal["sensitive", "specific"]
FEWEST_TUNED_ON = 20  # patients that a threshold is chosen on: at 95 % one of them may be missed


class Rate(Strict):
    """A share of patients with its 95 % interval (Wilson)."""

    hits: Annotated[int, Field(ge=0)]
    n: Annotated[int, Field(ge=1)]
    value: Share
    low: Share
    high: Share

    @classmethod
    def of(cls, hits: int, n: int) -> "Rate":
        """Compute the share of ``hits`` among ``n`` patients, at least one."""
        low, high = share_interval(hits, n)
        return cls(hits=hits, n=n, value=hits / n, low=low, high=high)


class OperatingPoint(Strict):
    """A test: positive from a threshold of the probability of some classes on.

    Attributes:
        name: As in ``malignant-sensitive``.
        kind: Which of the two rates the threshold was chosen for.
        title: As on a page.
        positive: Classes that the test shall find.
        threshold: Least calibrated probability of these classes, summed, of a positive test.
        sensitivity, specificity: Of the patients on whom the threshold was chosen.
    """

    name: str
    kind: PointKind
    title: str
    positive: tuple[str, ...]
    threshold: Share
    sensitivity: Rate
    specificity: Rate

    @model_validator(mode="before")
    @classmethod
    def _add_kind(cls, values: object) -> object:
        """Take the kind of a point that was written without one from its name."""
        if isinstance(values, dict) and "kind" not in values:
            return {**values, "kind": str(values.get("name")).rpartition("-")[2]}
        return values


def malignant_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """List the classes that a test for malignancy shall find; none where no class is named benign or normal."""
    found = tuple(name for name in classes if name not in NOT_MALIGNANT)
    return found if len(found) < len(classes) else ()


def learn_points(classes: Sequence[str], labels: np.ndarray, probs: np.ndarray) -> tuple[OperatingPoint, ...]:
    """Choose the operating points of a model on calibrated probabilities of patients whom it was not trained on.

    One that finds `TARGET_SENSITIVITY` of the malignant patients and one that spares `TARGET_SPECIFICITY` of the
    others; where no class is named benign, the same of each class against the rest. A test for which either group has
    fewer than `FEWEST_TUNED_ON` patients is left out.

    Args:
        classes: Names, in label order.
        labels: True class. Shape (P,).
        probs: Calibrated probabilities. Shape (P, C).
    """
    malignant = malignant_classes(classes)
    tests = {"malignant": malignant} if malignant else {name: (name,) for name in classes}
    points = []
    for test, positive in tests.items():
        columns = [list(classes).index(name) for name in positive]
        diseased, risk = np.isin(labels, columns), probs[:, columns].sum(axis=1)
        if min(diseased.sum(), (~diseased).sum()) < FEWEST_TUNED_ON:
            continue
        choices: tuple[tuple[PointKind, str, float], ...] = (
            ("sensitive", f"finds {100 * TARGET_SENSITIVITY:.0f} %", _least(risk[diseased], TARGET_SENSITIVITY)),
            ("specific", f"spares {100 * TARGET_SPECIFICITY:.0f} %", _above(risk[~diseased], TARGET_SPECIFICITY)),
        )
        for kind, title, threshold in choices:
            rates = rates_at(risk, diseased, threshold)
            point = OperatingPoint(
                name=f"{test}-{kind}",
                kind=kind,
                title=f"{test.capitalize()}, {title}",
                positive=positive,
                threshold=threshold,
                sensitivity=rates[0],
                specificity=rates[1],
            )
            points.append(point)
    return tuple(points)


def rates_at(risk: np.ndarray, diseased: np.ndarray, threshold: float) -> tuple[Rate, Rate]:
    """Compute sensitivity and specificity of a test; either group has a patient.

    Args:
        risk: Probability of the positive classes. Shape (P,).
        diseased: Patients of these classes. bool, shape (P,).
        threshold: Least risk of a positive test.
    """
    flagged = risk >= threshold
    found, spared = int((flagged & diseased).sum()), int((~flagged & ~diseased).sum())
    return Rate.of(found, int(diseased.sum())), Rate.of(spared, int((~diseased).sum()))


def _least(risks: np.ndarray, share: float) -> float:
    """Find the highest threshold that at least this share of the risks reaches."""
    needed = max(int(np.ceil(share * len(risks) - 1e-9)), 1)
    return float(np.sort(risks)[::-1][needed - 1])


def _above(risks: np.ndarray, share: float) -> float:
    """Find the lowest threshold that at least this share of the risks stays below."""
    needed = int(np.ceil(share * len(risks) - 1e-9))
    return float(min(np.nextafter(np.sort(risks)[needed - 1], 2.0), 1.0))
