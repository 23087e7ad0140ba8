"""Does a model rely on something outside the node? Judged from its predictions on altered pictures, by a fixed rule.

A model relies on something outside the node if, beyond the sampling error,

- it still tells the classes with the node hidden, or from nothing but the frame and the texts: the lower end of the
  AUC's 95 % interval is more than `MARGIN` above 0.5; or
- it tells them clearly worse once burned-in texts are painted over: the lower end of the loss's 95 % interval is more
  than `MARGIN`.

The looks and the margin were set before the first model was audited. The margin has two reasons: an AUC of 0.55 is of
no use to a shortcut and may come from what a hidden part leaves over; and with it the three looks together need no
further correction (no alarm in 300 simulated audits of models that tell nothing, ``experiments/shortcut_control.py``).

All AUCs here are of logits from which each fold's mean was taken. Shown strange pictures, a model leans to one class or
another as a whole, and the five models of a run lean differently; pooled as they are, that alone would hide what they
tell (and, with texts painted over, look like a loss). So the AUC of the unaltered pictures may differ a little from
the run's report. This was settled on two pilot runs with a planted shortcut, which the control does not use again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fusion_ln.evaluation.intervals import Resampled, resample
from fusion_ln.metrics import PRIMARY
from fusion_ln.predictions import Predictions, predictions_from_logits
from fusion_ln.terms import short_title

MARGIN = 0.05  # AUC
CHANCE = 0.5
ALTERATION = "alteration"  # column of the tables

UNALTERED, NODE_HIDDEN, FRAME_ONLY, TEXTS_PAINTED = "unaltered", "node-hidden", "frame-only", "texts-painted"
GREYED, SWAPPED, SWAPPED_ONE = "greyed", "swapped-within-class", "swapped-"  # + modality
PROBE = "border-probe"
KEEPS, LOSES = (NODE_HIDDEN, FRAME_ONLY), (TEXTS_PAINTED,)  # the three looks that the verdict rests on

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
class Judgement:
    """What the predictions on altered pictures tell.

    Attributes:
        table: One row per alteration, in the order given: ``alteration, patients, auc, ci_low, ci_high`` (95 % BCa
            interval of the macro one-vs-rest AUC), ``change`` against the unaltered pictures with ``change_low,
            change_high`` (paired, percentile interval; none for the unaltered and for the probe, which is another
            model), ``caught``: whether it breaks the rule of this module, ``yes`` or ``no``, empty where no rule looks.
    """

    table: pd.DataFrame

    @property
    def relies(self) -> bool:
        """Whether the model relies on something outside the node."""
        return len(self.caught) > 0

    @property
    def caught(self) -> tuple[str, ...]:
        """The alterations that show it."""
        looks = self.table[ALTERATION].isin([*KEEPS, *LOSES])
        return tuple(self.table.loc[looks & (self.table["caught"] == "yes"), ALTERATION])

    @property
    def frame_tells(self) -> bool:
        """Whether a model that is trained on the frame alone tells the classes: a hazard, not the model's fault."""
        return bool((self.table.loc[self.table[ALTERATION] == PROBE, "caught"] == "yes").any())

    def row(self, alteration: str) -> pd.Series:
        """The row of an alteration."""
        return self.table[self.table[ALTERATION] == alteration].iloc[0]


def judge(said: Mapping[str, Predictions], *, n_resamples: int = 2000, seed: int = 0) -> Judgement:
    """Judge a model by what it says of altered pictures.

    Args:
        said: Out-of-fold predictions by alteration, of the same patients; `UNALTERED` among them.
        n_resamples, seed: Of the patient bootstrap, whose draws are the same for all alterations.

    Raises:
        PredictionsError: If a class has fewer than 2 patients.
    """
    centred = [_centred(predictions) for predictions in said.values()]
    resampled = dict(zip(said, resample(centred, n_resamples=n_resamples, seed=seed), strict=True))
    rows = [_row(name, r, resampled[UNALTERED], len(said[name].patients)) for name, r in resampled.items()]
    return Judgement(pd.DataFrame(rows))


def title(alteration: str) -> str:
    """What a person reads for an alteration."""
    if alteration in TITLES:
        return TITLES[alteration]
    return f"{short_title(alteration.removeprefix(SWAPPED_ONE))} of another patient"


def _centred(predictions: Predictions) -> Predictions:
    """With each fold's mean taken from its log-probabilities."""
    logits = predictions.logits - predictions.logits.mean(axis=1, keepdims=True)
    for fold in np.unique(predictions.folds):
        logits[predictions.folds == fold] -= logits[predictions.folds == fold].mean(axis=0)
    return predictions_from_logits(
        predictions.classes, predictions.patients, predictions.folds, predictions.labels, logits
    )


def _row(name: str, resampled: Resampled, unaltered: Resampled, patients: int) -> dict[str, object]:
    at = resampled.names.index(PRIMARY)
    low, high = (float(limit[at]) for limit in resampled.bca_interval())
    row = {ALTERATION: name, "patients": patients, "auc": float(resampled.value[at]), "ci_low": low, "ci_high": high}
    paired = name not in (UNALTERED, PROBE)
    change = resampled.minus(unaltered)
    change_low, change_high = (float(limit[at]) for limit in change.percentile_interval())
    caught = ""
    if name in (*KEEPS, PROBE):
        caught = "yes" if low > CHANCE + MARGIN else "no"
    elif name in LOSES:
        caught = "yes" if change_high < -MARGIN else "no"
    return row | {
        "change": float(change.value[at]) if paired else None,
        "change_low": change_low if paired else None,
        "change_high": change_high if paired else None,
        "caught": caught,
    }
