"""Kind of the shift between a model's cohort and another one: class shares, missing pictures, or the pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import chi2, chi2_contingency

from fusion_ln.evaluation.external.profile import FEATURES, CohortProfile, Moments
from fusion_ln.evaluation.significance import holm
from fusion_ln.terms import listed

ShiftKind = Literal["prevalence", "missing", "pictures"]
FALSE_ALARMS = 0.05  # chance to name a kind of shift where there is none, over all kinds
COLUMNS = ["kind", "of", "largest", "chi2", "df", "p", "p_corrected"]
TITLES: Mapping[ShiftKind, str] = {
    "prevalence": "the shares of the classes",
    "missing": "which pictures are missing",
    "pictures": "the pictures of patients of the same class",
}


@dataclass(frozen=True)
class ShiftFound:
    """Kinds of shift between two cohorts.

    Attributes:
        tests: ``kind, of`` (class, modality, or modality and feature) ``, largest`` (difference: of shares, or of means
            in standard deviations of the class, whose sign tells other less model) ``, chi2, df, p, p_corrected``
            (Bonferroni within a kind, Holm over the kinds).
        kinds: Kinds found, the most certain first.
    """

    tests: pd.DataFrame
    kinds: tuple[ShiftKind, ...]

    @property
    def sentence(self) -> str:
        """Differences, in a sentence or two."""
        if not self.kinds:
            return f"No difference in {listed(TITLES[kind] for kind in self._tested)} was found."
        found = f"The cohorts differ in {listed(TITLES[kind] for kind in self.kinds)}{self._example}."
        if self.kinds != ("prevalence",):
            return found
        return (
            f"{found} Pictures of the same class look alike, so probabilities for the new shares may be all it takes."
        )

    @property
    def _tested(self) -> list[ShiftKind]:
        return [kind for kind in TITLES if (self.tests["kind"] == kind).any()]

    @property
    def _example(self) -> str:
        """The picture feature that differs most, where pictures differ."""
        if "pictures" not in self.kinds:
            return ""
        own = self.tests[self.tests["kind"] == "pictures"]
        row = own.iloc[int(own["chi2"].to_numpy().argmax())]
        direction = "higher" if row["largest"] > 0 else "lower"
        return f" (most in {row['of']}: {direction} by up to {abs(row['largest']):.1f} standard deviations)"


def find_shift(
    model_classes: Mapping[str, int],
    model: CohortProfile,
    other_classes: Mapping[str, int],
    other: CohortProfile,
) -> ShiftFound:
    """Tell in which ways another cohort differs from the one that a model learnt from: its page says so.

    Prevalence: chi-square test of the class counts. Missing: of the patients with a picture, each modality. Pictures:
    for each modality and feature of `FEATURES`, the squared Welch statistics of the classes summed, so that other
    shares of the classes do not count as other pictures. `FALSE_ALARMS` is kept over all kinds.

    Args:
        model_classes, model: Patients by class, and profile, of the model's cohort.
        other_classes, other: The same of the other cohort, with its labels.
    """
    tests = [*_prevalence(model_classes, other_classes), *_missing(model, other), *_pictures(model, other)]
    table = pd.DataFrame(tests, columns=COLUMNS[:-1])
    if not len(table):
        return ShiftFound(table.assign(p_corrected=[]), ())
    sizes = table.groupby("kind")["p"].transform("size")
    table["p_corrected"] = (table["p"] * sizes).clip(upper=1)
    least = table.groupby("kind", sort=False)["p_corrected"].min()
    corrected = pd.Series(holm(least.to_numpy()), index=least.index).sort_values(kind="stable")
    table["p_corrected"] = np.maximum(table["p_corrected"], table["kind"].map(corrected))
    found = corrected.index[corrected < FALSE_ALARMS]
    return ShiftFound(table, tuple(kind for name in found for kind in TITLES if kind == name))


def _prevalence(model: Mapping[str, int], other: Mapping[str, int]) -> list[tuple[object, ...]]:
    counts = np.array([[model.get(name, 0), other.get(name, 0)] for name in dict.fromkeys([*model, *other])])
    moved = counts[:, 1] / counts[:, 1].sum() - counts[:, 0] / counts[:, 0].sum()
    name = list(dict.fromkeys([*model, *other]))[int(np.abs(moved).argmax())]
    return [("prevalence", name, float(moved[np.abs(moved).argmax()]), *_independence(counts))]


def _missing(model: CohortProfile, other: CohortProfile) -> list[tuple[object, ...]]:
    names = dict.fromkeys(m for profile in (model, other) for held in profile.presence for m in held.split("+") if m)
    rows: list[tuple[object, ...]] = []
    for name in names:
        held = np.array([_held(profile, name) for profile in (model, other)])
        of = np.array([model.patients, other.patients])
        counts = np.stack([held, of - held])
        if counts.sum(axis=1).all():
            rows.append(("missing", name, float(held[0] / of[0] - held[1] / of[1]), *_independence(counts)))
    return rows


def _held(profile: CohortProfile, modality: str) -> int:
    return sum(n for held, n in profile.presence.items() if modality in held.split("+"))


def _independence(counts: np.ndarray) -> tuple[float, int, float]:
    """Test the counts of two cohorts (L, 2) by chi-square; levels that nobody has are left out."""
    kept = counts[counts.sum(axis=1) > 0]
    if len(kept) < 2:
        return 0.0, 0, 1.0
    found = chi2_contingency(kept, correction=False)
    return float(found.statistic), int(found.dof), float(found.pvalue)


def _pictures(model: CohortProfile, other: CohortProfile) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    modalities = dict.fromkeys(m for of in model.given_class.values() for m in of)
    for modality in modalities:
        for feature in FEATURES:
            pairs = [
                (of[modality][feature], other.given_class[name][modality][feature])
                for name, of in model.given_class.items()
                if modality in of and modality in other.given_class.get(name, {})
            ]
            pairs = [(ours, theirs) for ours, theirs in pairs if ours.deviation and theirs.deviation]
            if pairs:
                z = np.array([_welch(ours, theirs) for ours, theirs in pairs])
                moved = np.array([(theirs.mean - ours.mean) / ours.deviation for ours, theirs in pairs])
                total = float(np.square(z).sum())
                largest = float(moved[np.abs(moved).argmax()])
                rows.append(
                    ("pictures", f"{modality}, {feature}", largest, total, len(z), float(chi2.sf(total, len(z))))
                )
    return rows


def _welch(ours: Moments, theirs: Moments) -> float:
    error = np.sqrt(ours.deviation**2 / ours.n + theirs.deviation**2 / theirs.n)
    return float((theirs.mean - ours.mean) / error)
