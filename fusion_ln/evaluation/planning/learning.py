"""Learning curve over patients: AUC by the number of training patients, and what more of them would buy.

An inverse power law, AUC(n) = a - b n^-c with a at most 1 and b at least 0, is fitted by least squares to the AUCs of
nested parts of the training patients (Figueroa et al. 2012, BMC Med. Inform. Decis. Mak. 12:8). The interval of its
extrapolation resamples the patients who are predicted, the same draw for all parts, and fits anew each time; chance in
the training enters by the scatter of the points about the curve (simulated: ``learning_curve_coverage.py``). Three
points lie on a curve of three parameters and scatter by nothing: there is no interval then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from fusion_ln.evaluation.compare import align_all
from fusion_ln.evaluation.intervals import resample
from fusion_ln.evaluation.limits.shares import middle
from fusion_ln.metrics import PRIMARY
from fusion_ln.predictions import Predictions

EXPONENTS = np.geomspace(0.05, 4, 80)  # of the power law
FEWEST_PARTS = 4  # points of a curve of three parameters, below which its extrapolation has no interval
FURTHER = (1.5, 2.0, 4.0)  # times today's training patients


@dataclass(frozen=True)
class PowerLaw:
    """Inverse power laws a - b n^-c; each array has the shape of the curves that were fitted."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray

    def at(self, n: np.ndarray) -> np.ndarray:
        """Return the AUC with n training patients. Shape (curves, n)."""
        return np.asarray(self.a[:, None] - self.b[:, None] * n ** -self.c[:, None])


def fit_power_law(n: np.ndarray, auc: np.ndarray) -> PowerLaw:
    """Fit each row of AUCs by least squares; for each exponent the best a and b are known in closed form.

    Args:
        n: Training patients. Shape (F,).
        auc: Shape (curves, F).
    """
    best = np.full(len(auc), np.inf)
    a, b, c = (np.empty(len(auc)) for _ in range(3))
    for exponent in EXPONENTS:
        x = (n / n.max()) ** -exponent  # 1 at the largest part
        spread = x - x.mean()
        slope = np.maximum(-(auc @ spread) / (spread @ spread), 0)
        level = auc.mean(axis=1) + slope * x.mean()
        over = level > 1
        level = np.where(over, 1, level)
        slope = np.where(over, np.maximum((1 - auc) @ x / (x @ x), 0), slope)
        error = np.square(auc - level[:, None] + slope[:, None] * x).sum(axis=1)
        better = error < best
        best = np.where(better, error, best)
        a, c = np.where(better, level, a), np.where(better, exponent, c)
        b = np.where(better, slope * n.max() ** exponent, b)
    return PowerLaw(a, b, c)


@dataclass(frozen=True)
class LearningCurve:
    """AUC of a model by its number of training patients.

    Attributes:
        patients: Training patients, inner validation among them, in the mean of the folds. Shape (F,), ascending.
        auc: Shape (F,).
        draws: AUCs of each patient resample, the same one for all parts. Shape (R, F).
    """

    patients: np.ndarray
    auc: np.ndarray
    draws: np.ndarray

    @property
    def has_interval(self) -> bool:
        """True if there are points enough for an interval of the extrapolation."""
        return len(self.patients) >= FEWEST_PARTS

    @cached_property
    def law(self) -> PowerLaw:
        """The fitted curve."""
        return fit_power_law(self.patients, self.auc[None])

    @cached_property
    def _drawn_laws(self) -> PowerLaw:
        """Curves through the resamples, the points scattered about each as the trained ones are about theirs."""
        residuals = self.auc - self.law.at(self.patients)[0]
        scale = np.sqrt(len(residuals) / (len(residuals) - 3))  # three parameters were fitted
        signs = np.random.default_rng(0).choice([-1, 1], self.draws.shape)
        return fit_power_law(self.patients, self.draws + scale * residuals * signs)

    def points(self) -> pd.DataFrame:
        """List ``patients, auc, ci_low, ci_high``: the AUC of each part, with its interval given its training."""
        low, high = middle(self.draws)
        return pd.DataFrame({"patients": self.patients, "auc": self.auc, "ci_low": low, "ci_high": high})

    def extrapolate(self, patients: np.ndarray) -> pd.DataFrame:
        """Extrapolate to some numbers of training patients.

        Returns:
            ``patients, auc, ci_low, ci_high``, and the gain over today's number, ``gain, gain_low, gain_high``; no
            limits with fewer than `FEWEST_PARTS` points.
        """
        today = self.patients[-1:]
        value = self.law.at(patients)[0]
        gain = value - self.law.at(today)[0]
        low = high = gain_low = gain_high = np.full(len(patients), np.nan)
        if self.has_interval:
            drawn = self._drawn_laws.at(patients)
            low, high = middle(drawn)
            gain_low, gain_high = middle(drawn - self._drawn_laws.at(today))
        return pd.DataFrame(
            {
                "patients": patients, "auc": value, "ci_low": low, "ci_high": high, "gain": gain,
                "gain_low": gain_low, "gain_high": gain_high,
            }
        )  # fmt: skip


def learning_curve(parts: Mapping[float, Predictions], *, n_resamples: int = 2000) -> LearningCurve:
    """Build the curve of a model from its predictions by number of training patients.

    Raises:
        PredictionsError: If the parts do not predict the same patients in the same folds.
    """
    ordered = {str(n): parts[n] for n in sorted(parts)}
    aligned = align_all(ordered, next(iter(ordered)))
    resampled = resample(list(aligned.values()), n_resamples=n_resamples, seed=0)
    place = resampled[0].names.index(PRIMARY)
    return LearningCurve(
        patients=np.array(sorted(parts), dtype=np.float64),
        auc=np.array([each.value[place] for each in resampled]),
        draws=np.stack([each.draws[:, place] for each in resampled], axis=1),
    )
