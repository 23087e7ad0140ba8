"""Clinical columns of a cohort as standardised numbers, by patient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.decode.columns import MOST_LEVELS, reason_against_categories
from fusion_ln.errors import CohortError
from fusion_ln.settings.base import Settings
from fusion_ln.terms import LABEL, PATIENT, is_clinical

LARGEST = 1e100  # beyond it, squares overflow
MOST_SPREADS = 1e15  # from the mean; beyond them, a network's float32 overflows


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
        _check_column(cohort, name)
        held = cohort.patients[name]
        kinds = None
        if not pd.api.types.is_numeric_dtype(held):
            found = sorted(held.dropna().unique())
            if len(found) != 2:
                reason = reason_against_categories(held)
                raise CohortError(
                    f"cohort {cohort.name}: column {name!r} is text with {len(found)} values"
                    f"{f' ({reason})' if reason else ''}; a number, or two values, is needed.",
                    "Leave it out, or code it as numbers in the source.",
                )
            kinds = (str(found[0]), str(found[1]))
        learnt = _numbers(held, name, kinds)[training]
        columns.append(ClinicalColumn(name=name, kinds=kinds, mean=np.nanmean(learnt), spread=np.nanstd(learnt) or 1.0))
    return tuple(columns)


def check_columns(cohort: Cohort, names: Sequence[str]) -> None:
    """Refuse columns that a head cannot learn from in some fold; see `learn_columns`."""
    for fold in range(cohort.n_folds):
        learn_columns(cohort, names, fold)


def _check_column(cohort: Cohort, name: str) -> None:
    """Refuse a column that no model may learn from: unknown, the class, an id, constant, or the class's copy."""
    if name not in cohort.patients or not is_clinical(name):
        raise CohortError(
            f"cohort {cohort.name}: no clinical column {name!r}.", f"Clinical columns: {_known_columns(cohort)}."
        )
    held = cohort.patients[name]
    if held.nunique() < 2:
        raise CohortError(f"cohort {cohort.name}: column {name!r} is constant, so it tells nothing.", "Leave it out.")
    if _is_copy(held, cohort.patients[LABEL]):
        raise CohortError(
            f"cohort {cohort.name}: column {name!r} is the class under another name: each value belongs to one class.",
            "Leave it out.",
        )


def _known_columns(cohort: Cohort) -> str:
    return ", ".join(filter(is_clinical, cohort.patients.columns)) or "none"


def _is_copy(held: pd.Series, labels: pd.Series) -> bool:
    """Check whether values determine the label: a value for each class or, of a few values, several of one class."""
    known = pd.DataFrame({"value": held, "label": labels}).dropna()
    pairs = known.drop_duplicates()
    if pairs["value"].duplicated().any():
        return False
    few = len(pairs) <= MOST_LEVELS and len(known) >= 2 * len(pairs)
    return not pairs["label"].duplicated().any() or (few and set(pairs["label"]) == set(labels))


def standardise(patients: pd.DataFrame, columns: Sequence[ClinicalColumn]) -> pd.DataFrame:
    """Scale each column to mean 0 and standard deviation 1 over the training part; missing values become the mean.

    Args:
        patients: ``patient_id`` and clinical columns, one row per patient; it may lack columns.
        columns: Columns that a head takes, K of them.

    Returns:
        A table by patient with these K columns, float32.

    Raises:
        CohortError: If a value is neither of its column's kinds, not a number, or far too large.
    """
    scaled = np.zeros((len(patients), len(columns)), dtype=np.float32)
    for k, column in enumerate(columns):
        if column.name in patients:
            values = _numbers(patients[column.name], column.name, column.kinds)
            exact = np.nan_to_num((values - column.mean) / column.spread)
            _refuse_large(patients[column.name], column.name, np.abs(exact) > MOST_SPREADS)
            scaled[:, k] = exact
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
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    _refuse_large(held, name, np.abs(values) > LARGEST)
    return values


def _refuse_large(held: pd.Series, name: str, large: np.ndarray) -> None:
    if large.any():
        raise CohortError(
            f"clinical column {name!r}: {held[large].iloc[0]} is no finite number of a usual size.",
            "Mend or leave out the value.",
        )


@dataclass(frozen=True)
class EncodedColumn:
    """One column as a regression reads it.

    Attributes:
        levels: Categories, an indicator each; None: it holds numbers.
        mean, spread: Of the numbers or indicators in a fold's training part; indicators keep their scale.
    """

    name: str
    levels: tuple[str, ...] | None
    mean: np.ndarray
    spread: np.ndarray


def learn_encoding(cohort: Cohort, names: Sequence[str], fold: int) -> tuple[EncodedColumn, ...]:
    """Learn how a regression reads columns from the training part of a fold; see `check_encodable`."""
    training = cohort.patients[PATIENT].isin(cohort.training_part(fold)[0]).to_numpy()
    columns = []
    for name in names:
        levels = _levels_of(cohort, name)
        values = _encode(cohort.patients[name], name, levels)[training]
        known = values[~np.isnan(values[:, 0])]
        mean = known.mean(axis=0) if len(known) else np.zeros(values.shape[1])
        spread = known.std(axis=0) if levels is None and len(known) else np.ones(values.shape[1])
        columns.append(EncodedColumn(name, levels, mean, np.where(spread > 0, spread, 1.0)))
    return tuple(columns)


def check_encodable(cohort: Cohort, names: Sequence[str]) -> None:
    """Refuse columns that a regression cannot learn from.

    Raises:
        CohortError: If there is none, or one is unknown, constant, a copy of the class, or text without categories.
    """
    if not names:
        raise CohortError(f"cohort {cohort.name}: no column named.", f"Columns: {_known_columns(cohort)}.")
    for name in names:
        _check_column(cohort, name)
        _encode(cohort.patients[name], name, _levels_of(cohort, name))


def encode(patients: pd.DataFrame, columns: Sequence[EncodedColumn]) -> np.ndarray:
    """Standardise numbers and centre indicators of categories; a gap becomes 0, the mean. float64, shape (P, K)."""
    parts = [(_encode(patients[c.name], c.name, c.levels) - c.mean) / c.spread for c in columns]
    return np.asarray(np.nan_to_num(np.concatenate(parts, axis=1)))


def _levels_of(cohort: Cohort, name: str) -> tuple[str, ...] | None:
    """List the categories of a text column; None for numbers.

    Raises:
        CohortError: If it is text of another kind.
    """
    held = cohort.patients[name]
    if pd.api.types.is_numeric_dtype(held):
        return None
    levels = sorted(held.dropna().astype(str).unique())
    reason = reason_against_categories(held)
    if reason or len(levels) > MOST_LEVELS:
        raise CohortError(
            f"cohort {cohort.name}: column {name!r} is text with {len(levels)} values"
            f"{f' ({reason})' if reason else ''}; a number, or at most {MOST_LEVELS} categories, is needed.",
            "Leave it out, or code it as numbers in the source.",
        )
    return tuple(levels)


def _encode(held: pd.Series, name: str, levels: tuple[str, ...] | None) -> np.ndarray:
    """Convert values to a column of numbers or to indicators; rows of gaps are NaN. float64, shape (P, K)."""
    if levels is None:
        return _numbers(held, name, None)[:, None]
    place = pd.Index(levels).get_indexer(pd.Index(held.astype(object).where(held.notna(), None).map(_text)))
    indicators = np.eye(len(levels))[place]
    indicators[place < 0] = np.nan
    return np.asarray(indicators)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
