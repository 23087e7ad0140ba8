"""Numbers of patients for an AUC of some precision, a paired gain, and a sensitivity of some precision.

Widths are the mean ones of the intervals that pages print: of an AUC the logit-transformed DeLong limits or, where few
patients are misplaced, Newcombe's (`fusion_ln.evaluation.limits.auc`), of a sensitivity Wilson's. Variances come from
the predictions of finished runs (they fall as 1 / n while the shares of the classes stay) or from assumed AUCs (Hanley
& McNeil 1982, Radiology 143). ``experiments/evidence/planning_check.py`` simulates the plans.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import ndtr, pdtr

from fusion_ln.errors import SettingsError
from fusion_ln.evaluation.compare import align_all
from fusion_ln.evaluation.delong import MACRO
from fusion_ln.evaluation.intervals import Resampled, resample
from fusion_ln.evaluation.limits.auc import MISPLACED, Aucs, aucs, logit_limits, newcombe_limits
from fusion_ln.evaluation.limits.shares import Limits, Z, wilson
from fusion_ln.evaluation.planning.settings import PlanSettings
from fusion_ln.metrics import PRIMARY
from fusion_ln.predictions import Predictions

POWER, CORRELATION, SHARE = 0.8, 0.5, 0.3  # where nothing is said
FEWEST, MOST = 10, 1_000_000  # patients that a plan may name
FEWEST_FOR_VARIANCE = 2  # with one there is no variance
ASSUMED = "assumed"  # the class of a row, where only its share is known

Curve = Callable[[np.ndarray], np.ndarray]  # patients -> width of the interval, or power
Aim = Literal["AUC", "gain", "sensitivity"]


@dataclass(frozen=True)
class Need:
    """Patients that one aim needs.

    Attributes:
        aim: An interval of the AUC, a gain in AUC, or an interval of the sensitivity.
        of_class: The class against the rest; `MACRO` for the mean of the classes.
        share: Share of the class among the patients; NaN for the mean of the classes.
        value: AUC, gain or sensitivity that is assumed, or was found.
        target: Width of the interval, or power.
        curve: Width or power by number of patients.
        now: Patients of the runs; 0 without runs.
        ends: Ends of the found gain's 95 % interval; NaN where it was not found but assumed.
    """

    aim: Aim
    of_class: str
    share: float
    value: float
    target: float
    curve: Curve
    now: int = 0
    ends: tuple[float, float] = (np.nan, np.nan)

    @cached_property
    def patients(self) -> int | None:
        """Smallest number of patients, at least `FEWEST`, that reaches the target; None beyond `MOST`."""
        low, high = FEWEST, MOST
        if not self._reached(high):
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._reached(middle) else (middle + 1, high)
        return low

    def at(self, patients: int) -> float:
        """Return the width or the power with some patients."""
        return float(self.curve(np.array([patients]))[0])

    def _reached(self, patients: int) -> bool:
        reached = self.at(patients)
        return reached >= self.target if self.aim == "gain" else reached <= self.target


def plan_from_runs(models: Mapping[str, Predictions], settings: PlanSettings) -> list[Need]:
    """Plan from the predictions of one model or two; the gain is that of the first over the second.

    Raises:
        SettingsError: If an assumption is given, which the predictions tell.
        PredictionsError: If two models do not fit together, or a class has fewer than 2 patients.
    """
    assumed = ("auc", "other_auc", "correlation", "sensitivity", "share")
    if given := [name for name in assumed if getattr(settings, name) is not None]:
        raise SettingsError(
            f"--{given[0].replace('_', '-')}: the runs tell it already.", "Give runs, or assumptions, not both."
        )
    for name in ("gain", "power"):
        if getattr(settings, name) is not None and len(models) < 2:
            raise SettingsError(f"--{name}: one run has no gain.", "Name a second run, to be compared with.")
    aligned = align_all(models, next(iter(models)), common_only=True)
    first = next(iter(aligned.values()))
    n, classes = len(first.labels), first.classes
    shares = {MACRO: np.nan} | {name: float(np.mean(first.labels == c)) for c, name in enumerate(classes)}
    resampled = resample(list(aligned.values()), n_resamples=1, seed=0)
    ranked = aucs(first.labels, first.probs)
    needs = [
        Need("AUC", MACRO, np.nan, float(ranked.macro), settings.width, _macro_width(ranked), n),
        *(
            Need("AUC", name, shares[name], float(ranked.by_class[c]), settings.width, _class_width(ranked, c), n)
            for c, name in enumerate(classes)
        ),
    ]
    if len(resampled) > 1:
        needs += [_found_gain(resampled[0], resampled[1], name, share, n, settings) for name, share in shares.items()]
    for name in classes:
        recall = float(resampled[0].value[resampled[0].names.index(f"recall:{name}")])
        curve = _wilson_width(recall, shares[name])
        needs.append(Need("sensitivity", name, shares[name], recall, settings.width, curve, n))
    return needs


def plan_from_assumptions(settings: PlanSettings) -> list[Need]:
    """Plan from assumed AUCs, their correlation, a sensitivity and the share of the class.

    Raises:
        SettingsError: If nothing is assumed, or an assumption misses another one.
    """
    share = SHARE if settings.share is None else settings.share
    needs = []
    _refuse_idle(settings)
    if settings.auc is not None:
        auc = settings.auc
        curve: Curve = lambda n: _logit_width(np.array(auc), hanley_mcneil(auc, share, n), n * min(share, 1 - share))  # noqa: E731
        needs.append(Need("AUC", ASSUMED, share, auc, settings.width, curve))
    if settings.auc is not None and settings.other_auc is not None:
        gain = settings.auc - settings.other_auc if settings.gain is None else settings.gain
        correlation = CORRELATION if settings.correlation is None else settings.correlation
        power = _assumed_power(settings.auc, settings.other_auc, correlation, share, gain)
        needs.append(Need("gain", ASSUMED, share, gain, settings.power or POWER, power))
    if settings.sensitivity is not None:
        width = _wilson_width(settings.sensitivity, share)
        needs.append(Need("sensitivity", ASSUMED, share, settings.sensitivity, settings.width, width))
    return needs


def tabulate(needs: list[Need]) -> pd.DataFrame:
    """Tabulate the needs: a row each, with the figures of today's patients where there are runs."""
    rows = []
    for need in needs:
        patients = need.patients
        of_class = None if patients is None or np.isnan(need.share) else round(need.share * patients)
        rows.append(
            {
                "aim": need.aim, "class": need.of_class, "assumed": need.value, "found_low": need.ends[0],
                "found_high": need.ends[1], "target": need.target, "patients": patients, "of_class": of_class,
                "patients_now": need.now or None, "reached_now": need.at(need.now) if need.now else None,
            }
        )  # fmt: skip
    return pd.DataFrame(rows).astype(dict.fromkeys(("patients", "of_class", "patients_now"), "Int64"))


def hanley_mcneil(auc: float, share: float, n: np.ndarray) -> np.ndarray:
    """Compute the variance of an AUC with n patients of whom ``share`` have the class (Hanley & McNeil 1982, eq. 2)."""
    positive = np.maximum(share * n, 1.0)
    negative = np.maximum(n - positive, 1.0)
    both, against = auc / (2 - auc), 2 * auc**2 / (1 + auc)  # Q1, Q2
    spread = (positive - 1) * (both - auc**2) + (negative - 1) * (against - auc**2)
    return np.asarray((auc * (1 - auc) + spread) / (positive * negative))


def _refuse_idle(settings: PlanSettings) -> None:
    if settings.auc is None and settings.sensitivity is None:
        raise SettingsError(
            "Nothing to plan from: neither a run nor an assumption.",
            "Name one run or two, or assume: `--auc 0.85`, `--auc 0.9 --other-auc 0.85`, `--sensitivity 0.9`.",
        )
    if settings.other_auc is not None and settings.auc is None:
        raise SettingsError("--other-auc: needs --auc, too.", "Give the AUC of the model that is to be better.")
    for name in ("correlation", "gain", "power"):
        if getattr(settings, name) is not None and settings.other_auc is None:
            raise SettingsError(f"--{name}: needs two models.", "Give --auc and --other-auc, or two runs.")
    if settings.gain is None and settings.auc is not None and (settings.other_auc or 0.0) >= settings.auc:
        raise SettingsError(
            f"--auc {settings.auc:g} --other-auc {settings.other_auc:g}: no gain to find, since the model is not "
            "better than the one it is compared with.",
            "Give the better model's AUC as --auc, or the smallest gain worth finding (`--gain`).",
        )


def _found_gain(a: Resampled, b: Resampled, of_class: str, share: float, n: int, settings: PlanSettings) -> Need:
    """Plan a gain with the jackknife variance of the found one."""
    place = a.names.index(PRIMARY if of_class == MACRO else f"auc:{of_class}")
    difference = a.minus(b)
    variance = float(np.square(difference.influence[:, place]).sum())
    gain = float(difference.value[place]) if settings.gain is None else settings.gain
    low, high = (float(end[place]) for end in a.difference_interval(b))
    return Need("gain", of_class, share, gain, settings.power or POWER, _power(gain, variance * n), n, (low, high))


def _class_width(ranked: Aucs, of_class: int) -> Curve:
    """Compute the mean width of a class's AUC by patients, the variance scaled to their number."""
    now, positive = len(ranked.labels), int((ranked.labels == of_class).sum())
    auc, variance = ranked.by_class[of_class], ranked.covariance(ranked)[of_class] * now

    def width(n: np.ndarray) -> np.ndarray:
        part = n / now
        near_one = newcombe_limits(np.full(n.shape, auc), part * positive, part * (now - positive))
        few = _chance_of_few(ranked, of_class, part)
        smallest = part * min(positive, now - positive)
        return _mix(few, _between(near_one), _logit_width(auc, variance / n, smallest))

    return width


def _macro_width(ranked: Aucs) -> Curve:
    """Compute the mean width of the mean of the classes' AUCs by patients."""
    now, sizes = len(ranked.labels), np.bincount(ranked.labels)
    auc, variance = ranked.macro, ranked.macro_covariance(ranked) * now

    def width(n: np.ndarray) -> np.ndarray:
        part = n / now
        of, others = part[:, None] * sizes, part[:, None] * (now - sizes)
        near_one = _between(newcombe_limits(np.broadcast_to(ranked.by_class, of.shape), of, others))
        few = 1 - np.prod([1 - _chance_of_few(ranked, c, part) for c in range(len(sizes))], axis=0)
        return _mix(few, near_one.mean(axis=-1), _logit_width(auc, variance / n, part * sizes.min()))

    return width


def _chance_of_few(ranked: Aucs, of_class: int, part: np.ndarray) -> np.ndarray:
    """Compute the chance that a study of ``part`` times the patients misplaces so few that Newcombe's limits stand.

    A patient who outranks a share v of n others outranks all of n new ones with chance v^n; the number of those who do
    not is taken as Poisson. Shape (N,).
    """
    positive = ranked.labels == of_class
    expected = []
    for own in (positive, ~positive):
        size, others = part * own.sum(), part * (~own).sum()
        above = ranked.influence[own, of_class] * own.sum() + ranked.by_class[of_class]
        expected.append(size * (1 - above.clip(0, 1) ** others[:, None]).mean(axis=-1))
    return np.asarray(pdtr(MISPLACED - 1, np.min(expected, axis=0)))


def _logit_width(auc: np.ndarray, variance: np.ndarray, smallest: np.ndarray) -> np.ndarray:
    return _between(logit_limits(auc, variance, np.maximum(smallest, FEWEST_FOR_VARIANCE)))


def _between(limits: Limits) -> np.ndarray:
    return np.asarray(limits[1] - limits[0])


def _mix(few: np.ndarray, near_one: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """Average the two widths that a page may print, by the chance that few patients are misplaced.

    The wider one stands in for the first, so that more patients never widen it; an AUC of 1 has no other.
    """
    wide = np.fmax(near_one, plain)
    return np.asarray(few * wide + (1 - few) * np.where(np.isnan(plain), wide, plain))


def _power(gain: float, variance: float) -> Curve:
    """Compute the power by patients, of a variance for one patient; 0 for no gain, or a loss."""
    if gain <= 0:
        return lambda n: np.zeros(len(n))
    return lambda n: ndtr(gain * np.sqrt(n / max(variance, np.finfo(float).tiny)) - Z)


def _assumed_power(auc: float, other: float, correlation: float, share: float, gain: float) -> Curve:
    def power(n: np.ndarray) -> np.ndarray:
        one, two = (hanley_mcneil(each, share, n) for each in (auc, other))
        error = np.sqrt(one + two - 2 * correlation * np.sqrt(one * two))
        return np.asarray(ndtr(abs(gain) / error - Z))

    return power


def _wilson_width(sensitivity: float, share: float) -> Curve:
    """Compute the width of Wilson's interval of a share by patients, of whom a part have the class."""

    def width(n: np.ndarray) -> np.ndarray:
        of_class = np.maximum(share * n, 1.0)
        return _between(wilson(sensitivity * of_class, of_class))

    return width
