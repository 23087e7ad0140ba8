"""Clinical columns of a cohort as standardised numbers, by patient."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.decode.columns import reason_against_categories
from fusion_ln.errors import CohortError
from fusion_ln.settings import Settings
from fusion_ln.terms import LABEL, PATIENT, is_clinical


class ClinicalColumn(Settings):
    """One column as a fold's head reads it: its kinds, mean and spread in the fold's training part.

    Attributes:
        kinds: The two values of a column of text, which count as 0 and 1; None: it holds numbers.
        mean, spread: Mean and standard deviation of the training part.
    """

    name: str
    kinds: tuple[str, str] | None
    mean: float
    spread: float


def learn_columns(cohort: Cohort, names: Sequence[str], fold: int) -> tuple[ClinicalColumn, ...]:
    """Learn how to read some columns from the training part of a fold.

    Raises:
        CohortError: If a column is not clinical, missing, constant, a copy of the class, or text with other than two
            values.
    """
    training = cohort.patients[PATIENT].isin(cohort.training_part(fold)[0]).to_numpy()
    columns = []
    for name in names:
        if name not in cohort.patients or not is_clinical(name):
            known = ", ".join(filter(is_clinical, cohort.patients.columns)) or "none"
            raise CohortError(f"cohort {cohort.name}: no clinical column {name!r}.", f"Clinical columns: {known}.")
        held = cohort.patients[name]
        if held.nunique() < 2:
            raise CohortError(
                f"cohort {cohort.name}: column {name!r} is constant, so it tells nothing.",
                "Leave it out of `--clinical`.",
            )
        if _is_copy(held, cohort.patients[LABEL]):
            raise CohortError(
                f"cohort {cohort.name}: column {name!r} is the class under another name: one value for each class.",
                "Leave it out of `--clinical`.",
            )
        kinds = None
        if not pd.api.types.is_numeric_dtype(held):
            found = sorted(held.dropna().unique())
            if len(found) != 2:
                reason = reason_against_categories(held)
                raise CohortError(
                    f"cohort {cohort.name}: column {name!r} is text with {len(found)} values"
                    f"{f' ({reason})' if reason else ''}; a number, or two values, is needed.",
                    "Leave it out of `--clinical`, or code it as numbers in the source.",
                )
            kinds = (str(found[0]), str(found[1]))
        learnt = _numbers(held, name, kinds)[training]
        columns.append(ClinicalColumn(name=name, kinds=kinds, mean=np.nanmean(learnt), spread=np.nanstd(learnt) or 1.0))
    return tuple(columns)


def check_columns(cohort: Cohort, names: Sequence[str]) -> None:
    """Refuse columns that a head cannot learn from in some fold; see `learn_columns`."""
    for fold in range(cohort.n_folds):
        learn_columns(cohort, names, fold)


def _is_copy(held: pd.Series, labels: pd.Series) -> bool:
    """Check whether values and labels determine each other."""
    pairs = pd.DataFrame({"value": held, "label": labels}).dropna().drop_duplicates()
    return not pairs["value"].duplicated().any() and not pairs["label"].duplicated().any()


def standardise(patients: pd.DataFrame, columns: Sequence[ClinicalColumn]) -> pd.DataFrame:
    """Scale each column to mean 0 and standard deviation 1 over the training part; missing values become the mean.

    Args:
        patients: ``patient_id`` and clinical columns, one row per patient; it may lack columns.
        columns: Columns that a head takes, K of them.

    Returns:
        A table by patient with these K columns, float32.

    Raises:
        CohortError: If a value is neither of its column's kinds, or not a number.
    """
    scaled = np.zeros((len(patients), len(columns)), dtype=np.float32)
    for k, column in enumerate(columns):
        if column.name in patients:
            values = _numbers(patients[column.name], column.name, column.kinds)
            scaled[:, k] = np.nan_to_num((values - column.mean) / column.spread)
    return pd.DataFrame(scaled, index=pd.Index(patients[PATIENT]), columns=[column.name for column in columns])


def clinical_values(table: pd.DataFrame, patients: np.ndarray) -> np.ndarray:
    """Take the rows of some patients from what `standardise` returned. float32, shape (P, K)."""
    return np.array(table.loc[patients], dtype=np.float32, order="C")


def _numbers(held: pd.Series, name: str, kinds: tuple[str, str] | None) -> np.ndarray:
    """Convert values to numbers; missing ones become NaN. float64, shape (P,)."""
    if kinds:
        numbers = held.map({kind: place for place, kind in enumerate(kinds)})
    else:
        numbers = pd.to_numeric(held, errors="coerce")
    wrong = held[numbers.isna() & held.notna()]
    if len(wrong):
        expected = f"{kinds[0]!r} or {kinds[1]!r}" if kinds else "a number"
        raise CohortError(
            f"clinical column {name!r}: {wrong.iloc[0]!r} is not {expected}.", "Mend or leave out the value."
        )
    return numbers.to_numpy(dtype=np.float64, na_value=np.nan)
