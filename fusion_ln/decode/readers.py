"""Columns of readers in a table of patients: ``reader:<name>`` holds calls, ``reader:<name>:<class>`` suspicion.

A call is the class that the reader chose, by name or number. Suspicion is a number that is higher the surer the reader
was of the class, on any ordered scale (1 to 5, 0 to 100). An empty cell: the reader did not read the patient.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fusion_ln.decode.columns import GAPS
from fusion_ln.decode.table import spelling_key
from fusion_ln.errors import CohortError
from fusion_ln.terms import PATIENT, READER, is_reader_column


@dataclass(frozen=True)
class Reader:
    """Answers of a reader on the patients who were read.

    Attributes:
        calls: Class chosen, by patient; empty without a column of calls.
        suspicion: Ordered suspicion by patient, of each class that has a column.
    """

    name: str
    calls: pd.Series
    suspicion: Mapping[str, pd.Series]


def call_columns(columns: Iterable[str]) -> list[str]:
    """List the columns of calls, which are names even where they look like numbers."""
    return [name for name in columns if is_reader_column(name) and name.count(":") == 1]


def tidy_readers(patients: pd.DataFrame, classes: Sequence[str], where: str) -> pd.DataFrame:
    """Spell the columns of readers and their calls as the package does; other columns stay.

    Args:
        patients: One row per patient.
        classes: Class names in label order.
        where: File or cohort, for messages.

    Raises:
        CohortError: If a call or a column names no class, a suspicion is no number, or two columns have one name.
    """
    tidy = {}
    for column in map(str, patients.columns):
        name, held = column, patients[column]
        if is_reader_column(column):
            reader, _, of_class = (part.strip() for part in column.strip()[len(READER) :].partition(":"))
            if not reader:
                raise CohortError(f"{where}: column {column!r} names no reader.", "Call it `reader:NAME`.")
            place = f"{where}: column {column!r}"
            if of_class:
                name, held = f"{READER}{reader}:{_class(of_class, classes, place)}", _numbers(patients, column, place)
            else:
                name, held = f"{READER}{reader}", _calls(patients, column, classes, place)
        if name in tidy:
            raise CohortError(f"{where}: two columns stand for {name!r}.", "Rename or remove one of them.")
        tidy[name] = held
    return pd.DataFrame(tidy, index=patients.index)


def find_readers(patients: pd.DataFrame, classes: Sequence[str], where: str) -> tuple[Reader, ...]:
    """Find the readers of a table of patients, in the order of their columns.

    Raises:
        CohortError: See `tidy_readers`; or if a reader read no patient.
    """
    held = tidy_readers(patients.filter(items=[PATIENT, *filter(is_reader_column, patients.columns)]), classes, where)
    by_patient = held.set_index(PATIENT)
    found = []
    for name in dict.fromkeys(str(column)[len(READER) :].partition(":")[0] for column in by_patient):
        calls = by_patient[f"{READER}{name}"].dropna() if f"{READER}{name}" in by_patient else pd.Series(dtype=object)
        columns = {of: f"{READER}{name}:{of}" for of in classes}
        suspicion = {of: by_patient[column].dropna() for of, column in columns.items() if column in by_patient}
        if calls.empty and not any(len(each) for each in suspicion.values()):
            raise CohortError(f"{where}: reader {name!r} read no patient.", "Fill the column in, or remove it.")
        found.append(Reader(name, calls, suspicion))
    return tuple(found)


def _class(text: str, classes: Sequence[str], place: str) -> str:
    by_spelling = {spelling_key(name): name for name in classes}
    if spelling_key(text) in by_spelling:
        return by_spelling[spelling_key(text)]
    if text.isdecimal() and int(text) < len(classes):
        return classes[int(text)]
    known = f"Classes: {', '.join(classes)}, or their numbers 0 to {len(classes) - 1}. "
    raise CohortError(f"{place}: {text!r} is no class.", f"{known}Leave a cell empty where the patient was not read.")


def _calls(patients: pd.DataFrame, column: str, classes: Sequence[str], place: str) -> pd.Series:
    calls = []
    for patient, value in zip(patients[PATIENT], patients[column], strict=True):
        text = f"{value:g}" if isinstance(value, float) else str(value).strip()
        gap = value is None or value is pd.NA or text.casefold() in GAPS
        calls.append(None if gap else _class(text, classes, f"{place}, patient {patient}"))
    return pd.Series(calls, index=patients.index, dtype=object)


def _numbers(patients: pd.DataFrame, column: str, place: str) -> pd.Series:
    held = patients[column]
    numbers = pd.to_numeric(held, errors="coerce").astype(float)
    wrong = held[~np.isfinite(numbers) & held.notna() & (held.astype(str).str.strip() != "")]
    if len(wrong):
        patient = patients.loc[wrong.index[0], PATIENT]
        raise CohortError(
            f"{place}, patient {patient}: {wrong.iloc[0]!r} is no number.",
            "Suspicion is a number, higher for more (1 to 5, 0 to 100); leave the cell empty where it was not read.",
        )
    return numbers
