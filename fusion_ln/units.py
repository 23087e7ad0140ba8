"""Names of units: a patient's own or, in a cohort of nodes, the patient's and the node's.

The name of a node holds that of its patient, so that folds, resamples and tests find who goes together wherever a name
goes. Tables on disk hold the two in columns of their own.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from fusion_ln.terms import NODE, PATIENT

SEPARATOR = "::"  # between patient and node; in no name of either


def node_name(patient: str, node: str) -> str:
    """Name a node of a patient as a unit."""
    return f"{patient}{SEPARATOR}{node}"


def patient_of(unit: str) -> str:
    """Return the patient of a unit."""
    return unit.partition(SEPARATOR)[0]


def are_nodes(units: Iterable[str]) -> bool:
    """Test whether some of the units are nodes."""
    return any(SEPARATOR in unit for unit in units)


def number_patients(units: Iterable[str]) -> np.ndarray:
    """Find the number of each unit's patient, from 0 in the order of their names. Shape (P,)."""
    return np.unique([patient_of(unit) for unit in units], return_inverse=True)[1]


def owners_of(units: Iterable[str]) -> np.ndarray | None:
    """Find the number of each node's patient; None where the units are patients. Shape (P,)."""
    names = list(units)
    return number_patients(names) if are_nodes(names) else None


def count_units(units: Sequence[str]) -> str:
    """Count patients and, if they have such, their nodes."""
    if not are_nodes(units):
        return f"{len(units)} patients"
    return f"{len(units)} nodes of {len({patient_of(unit) for unit in units})} patients"


def nodes_counted(units: Sequence[str]) -> str:
    """Count nodes and their patients; empty where the units are patients."""
    return count_units(units) if are_nodes(units) else ""


def unit_columns(unit: str) -> dict[str, str]:
    """Split the name of a unit by column: the patient and, of a node, the node."""
    patient, separator, node = unit.partition(SEPARATOR)
    return {PATIENT: patient, **({NODE: node} if separator else {})}


def split_units(table: pd.DataFrame) -> pd.DataFrame:
    """Split the names of nodes into columns of the patient and the node, for the disk."""
    if PATIENT not in table or not are_nodes(map(str, table[PATIENT])):
        return table
    parts = table[PATIENT].str.partition(SEPARATOR)
    split = table.assign(**{PATIENT: parts[0]})
    split.insert(table.columns.tolist().index(PATIENT) + 1, NODE, parts[2])
    return split


def join_units(table: pd.DataFrame) -> pd.DataFrame:
    """Join the columns of patient and node of a table on disk into the names of units.

    Raises:
        ValueError: If the nodes are no texts.
    """
    if PATIENT not in table or NODE not in table:
        return table
    if not all(isinstance(name, str) for column in (PATIENT, NODE) for name in table[column]):
        raise ValueError(f"its columns {PATIENT!r} and {NODE!r} hold something else than texts")
    return table.assign(**{PATIENT: table[PATIENT] + SEPARATOR + table[NODE]}).drop(columns=NODE)
