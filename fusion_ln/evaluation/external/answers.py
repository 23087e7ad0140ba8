"""The table of a model's answers on another cohort: `predictions.parquet` of an evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fusion_ln.decode.stored import Kind, load_table, wrong_column
from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.subgroups import AGE_BANDS
from fusion_ln.predictions import Predictions, check_table, predictions_from_logits
from fusion_ln.terms import LABEL, MODALITIES_USED, PATIENT, PROB, RAW, UNLIKE

IN_SET = "set_"  # + class name: the class is in the patient's set
GROUP = "group_"  # + variable: the patient's subgroup
EVALUATE_AGAIN = "Restore the file, or evaluate again into another folder."


@dataclass(frozen=True)
class ExternalAnswers:
    """Answers to P patients of another cohort, sorted by patient.

    Attributes:
        classes: Names, in the model's order.
        table: ``patient_id, fold, label, logit_<class>..., prob_<class>..., set_<class>..., raw_<class>...,
            modalities``, and ``group_<variable>...`` and ``unlike`` where there are such; no ``label`` where labels are
            not looked at.
    """

    classes: tuple[str, ...]
    table: pd.DataFrame

    @property
    def has_labels(self) -> bool:
        return LABEL in self.table

    @property
    def counts(self) -> dict[str, int] | None:
        """Patients of each true class; None where labels are not looked at."""
        if not self.has_labels:
            return None
        found = np.bincount(self.table[LABEL], minlength=len(self.classes))
        return dict(zip(self.classes, found.tolist(), strict=True))

    @property
    def n_unlike(self) -> int | None:
        """Number of patients with a picture unlike all that the model learnt from; None if that is not known."""
        return int(self.table[UNLIKE].sum()) if UNLIKE in self.table else None

    @property
    def predictions(self) -> Predictions:
        """Calibrated probabilities with the true classes."""
        assert self.has_labels, "a label-free evaluation knows no true class"
        return Predictions(self.classes, self.table)

    @property
    def probs(self) -> np.ndarray:
        """Calibrated probabilities. Shape (P, C)."""
        return np.asarray(self.table[[PROB + name for name in self.classes]], dtype=np.float64)

    @property
    def member(self) -> np.ndarray:
        """Membership of each class in each patient's set. bool, shape (P, C)."""
        return np.asarray(self.table[[IN_SET + name for name in self.classes]], dtype=bool)

    @property
    def groups(self) -> dict[str, pd.Series]:
        """Subgroup of each patient by variable, indexed by patient; bands of age in their order."""
        by_patient = self.table.set_index(PATIENT)
        found = {}
        for name in (name for name in map(str, by_patient.columns) if name.startswith(GROUP)):
            levels = by_patient[name]
            is_age = set(levels.dropna()) <= set(AGE_BANDS)
            found[name.removeprefix(GROUP)] = (
                levels.astype(pd.CategoricalDtype(list(AGE_BANDS), ordered=True)) if is_age else levels
            )
        return found


def tabulate_answers(
    classes: tuple[str, ...],
    patients: np.ndarray,
    probs: np.ndarray,
    member: np.ndarray,
    raw: np.ndarray,
    modalities: list[str],
    *,
    labels: np.ndarray | None,
    groups: Mapping[str, pd.Series],
    unlike: np.ndarray | None = None,
) -> ExternalAnswers:
    """Build the table of `ExternalAnswers`.

    Args:
        classes: Names, in the model's order.
        patients: Sorted. Shape (P,).
        probs, member, raw: Calibrated probabilities, sets, and raw probabilities. Shapes (P, C).
        modalities: Those whose pictures were used, as in ``2d+elastic``, by patient.
        labels: True class 0..C-1 (P,); None: labels are not looked at.
        groups: Subgroup of each patient by variable, indexed by patient.
        unlike: Patients outside what the model knows. bool, shape (P,).
    """
    known = np.zeros(len(patients), dtype=np.int64) if labels is None else labels
    logits = np.log(np.maximum(probs, np.finfo(np.float64).tiny))
    table = predictions_from_logits(classes, patients.tolist(), np.zeros(len(patients)), known, logits).table
    table[[IN_SET + name for name in classes]] = member
    table[[RAW + name for name in classes]] = raw
    table[MODALITIES_USED] = modalities
    for name, levels in groups.items():
        table[GROUP + name] = [None if pd.isna(level) else str(level) for level in levels.loc[patients]]
    if unlike is not None:
        table[UNLIKE] = unlike
    return ExternalAnswers(classes, table if labels is not None else table.drop(columns=LABEL))


def read_answers(path: Path) -> ExternalAnswers:
    """Read and check the table of an evaluation.

    Raises:
        PredictionsError: If it cannot be read, or is no such table.
    """
    try:
        table = load_table(path)
    except ValueError as error:
        raise PredictionsError(
            f"{path}: {error}; the answers of an evaluation were expected.", EVALUATE_AGAIN
        ) from None
    labelled = LABEL in table
    checked = check_table(path, table if labelled else table.assign(**{LABEL: 0}))
    needed: dict[str, Kind] = {RAW + name: "number" for name in checked.classes}
    needed |= {MODALITIES_USED: "text"}
    if wrong := wrong_column(checked.table, needed):
        raise PredictionsError(f"{path}: {wrong}.", EVALUATE_AGAIN)
    for name in (IN_SET + each for each in checked.classes):
        if name not in checked.table or checked.table[name].dtype != bool:
            raise PredictionsError(f"{path}: no column {name!r} of true and false.", EVALUATE_AGAIN)
    return ExternalAnswers(checked.classes, checked.table if labelled else checked.table.drop(columns=LABEL))
