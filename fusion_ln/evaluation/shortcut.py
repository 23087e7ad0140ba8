"""Shortcut assessment: reliance on something outside the node, found by a fixed rule on altered pictures.

A model relies on something outside the node if, beyond the sampling error,

- it still tells the classes with the node hidden, or from nothing but the frame and the texts: the lower end of the
  AUC's 95 % interval is more than `AUC_MARGIN` above 0.5; or
- it tells them clearly worse once burned-in texts are painted over: the lower end of the loss's 95 % interval is more
  than `AUC_MARGIN`.

The tests and the margin were set before the first model was audited. The margin has two reasons: an AUC of 0.55 is of
no use to a shortcut and may come from what a hidden part leaves over; and with it the three tests together need no
further correction (no alarm in 300 simulated audits of models that tell nothing:
``experiments/evidence/shortcut_control.py``).

All AUCs here are of logits from which each fold's mean was taken. Shown strange pictures, a model leans to one class or
another as a whole, and the five models of a run lean differently; pooled as they are, that alone would hide what they
tell (and, with texts painted over, look like a loss). So the AUC of the unaltered pictures may differ a little from
the run's report. This was settled on two pilot runs with a planted shortcut, which the control does not use again.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from fusion_ln.evaluation.intervals import Resampled, resample
from fusion_ln.metrics import PRIMARY
from fusion_ln.predictions import Predictions, predictions_from_logits
from fusion_ln.terms import short_title

AUC_MARGIN = 0.05  # AUC
CHANCE = 0.5
ALTERATION = "alteration"  # column of the tables

UNALTERED, NODE_HIDDEN, FRAME_ONLY, TEXTS_PAINTED = "unaltered", "node-hidden", "frame-only", "texts-painted"
GREYED, SWAPPED, SWAPPED_ONE = "greyed", "swapped-within-class", "swapped-"  # + modality
PROBE = "border-probe"
MUST_NOT_TELL, MUST_NOT_LOSE = (NODE_HIDDEN, FRAME_ONLY), (TEXTS_PAINTED,)  # the three tests of the rule

TITLES = {
    UNALTERED: "Pictures as they are",
    NODE_HIDDEN: "Node hidden",
    FRAME_ONLY: "Only frame and texts left",
    TEXTS_PAINTED: "Texts painted over",
    GREYED: "Colours greyed",
    SWAPPED: "Swapped within the class",
    PROBE: "Model trained on the frame alone",
}


@dataclass(frozen=True)
class AlterationScore:
    """AUC on pictures altered in one way: a row of the table.

    Attributes:
        auc, ci_low, ci_high: Macro one-vs-rest AUC with its 95 % BCa interval.
        change, change_low, change_high: Paired difference to the unaltered pictures with its 95 % percentile interval;
            NaN for the unaltered and for the probe, which is another model.
        caught: ``yes`` or ``no``: it breaks the rule of this module or keeps it; empty where the rule tests nothing.
    """

    alteration: str
    patients: int
    auc: float
    ci_low: float
    ci_high: float
    change: float
    change_low: float
    change_high: float
    caught: str


@dataclass(frozen=True)
class ShortcutAssessment:
    """Scores of a model on altered pictures, one per alteration, and the answer of the rule."""

    scores: tuple[AlterationScore, ...]

    @property
    def relies(self) -> bool:
        """The model relies on something outside the node."""
        return len(self.caught) > 0

    @property
    def caught(self) -> tuple[str, ...]:
        """Alterations that show the reliance."""
        tested = (score for score in self.scores if score.alteration in (*MUST_NOT_TELL, *MUST_NOT_LOSE))
        return tuple(score.alteration for score in tested if score.caught == "yes")

    @property
    def frame_tells(self) -> bool:
        """A model trained on the frame alone tells the classes: a hazard of the pictures, not the model's fault."""
        return any(score.alteration == PROBE and score.caught == "yes" for score in self.scores)

    @property
    def table(self) -> pd.DataFrame:
        """The fields of `AlterationScore`, a row per alteration."""
        return pd.DataFrame([asdict(score) for score in self.scores])

    def of(self, alteration: str) -> AlterationScore:
        """Return the score of an alteration."""
        return next(score for score in self.scores if score.alteration == alteration)


def assess_shortcuts(
    predictions: Mapping[str, Predictions], *, n_resamples: int = 2000, seed: int = 0
) -> ShortcutAssessment:
    """Assess a model by its predictions on altered pictures.

    Args:
        predictions: Out-of-fold predictions by alteration, of the same patients; `UNALTERED` among them.
        n_resamples, seed: Of the patient bootstrap, whose draws are the same for all alterations.

    Raises:
        PredictionsError: If a class has fewer than 2 patients.
    """
    centred = [_centre(each) for each in predictions.values()]
    resampled = dict(zip(predictions, resample(centred, n_resamples=n_resamples, seed=seed), strict=True))
    return ShortcutAssessment(
        tuple(
            _score(name, each, resampled[UNALTERED], len(predictions[name].patients))
            for name, each in resampled.items()
        )
    )


def title(alteration: str) -> str:
    """Name an alteration as a page shows it."""
    if alteration in TITLES:
        return TITLES[alteration]
    return f"{short_title(alteration.removeprefix(SWAPPED_ONE))} of another patient"


def _centre(predictions: Predictions) -> Predictions:
    """Subtract each fold's mean from its log-probabilities."""
    logits = predictions.logits - predictions.logits.mean(axis=1, keepdims=True)
    for fold in np.unique(predictions.folds):
        logits[predictions.folds == fold] -= logits[predictions.folds == fold].mean(axis=0)
    return predictions_from_logits(
        predictions.classes, predictions.patients, predictions.folds, predictions.labels, logits
    )


def _score(alteration: str, resampled: Resampled, unaltered: Resampled, patients: int) -> AlterationScore:
    at = resampled.names.index(PRIMARY)
    low, high = (float(limit[at]) for limit in resampled.bca_interval())
    paired = alteration not in (UNALTERED, PROBE)
    change = resampled.minus(unaltered)
    change_low, change_high = (float(limit[at]) for limit in change.percentile_interval())
    caught = ""
    if alteration in (*MUST_NOT_TELL, PROBE):
        caught = "yes" if low > CHANCE + AUC_MARGIN else "no"
    elif alteration in MUST_NOT_LOSE:
        caught = "yes" if change_high < -AUC_MARGIN else "no"
    return AlterationScore(
        alteration=alteration,
        patients=patients,
        auc=float(resampled.value[at]),
        ci_low=low,
        ci_high=high,
        change=float(change.value[at]) if paired else np.nan,
        change_low=change_low if paired else np.nan,
        change_high=change_high if paired else np.nan,
        caught=caught,
    )
