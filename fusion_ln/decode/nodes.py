"""Column of nodes in a table of patients: each line of a node, which has a label and pictures of its own."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from fusion_ln.decode.columns import GAPS
from fusion_ln.decode.table import label_key, spelling_key, spelt_alike
from fusion_ln.errors import SourceError
from fusion_ln.progress import say
from fusion_ln.terms import NODE, PATIENT
from fusion_ln.units import SEPARATOR, node_name, patient_of

MOST_DIGITS = 2  # of a number that counts within the patient
MEANT = {"node", "nodeid", "nodeno", "nodenr", "nodenumber", "lymphnode", "lymphnodeid"}  # perhaps, by their letters
OF_PATIENTS = {"age", "sex", "gender", "年龄", "性别"}  # words of columns that all nodes of a patient share
_WHOLE = re.compile(r"(\d+)(?:\.0*)?", re.ASCII)  # as spreadsheets write whole numbers of a column with gaps, too


def name_nodes(path: Path, lines: Sequence[tuple[int, Mapping[str, str]]]) -> list[str]:
    """Name the unit of each line of a table with a column of nodes.

    Where all nodes are whole numbers, ``1.0`` is read as ``1``.

    Args:
        path: The table, for messages.
        lines: Number in the file and cells by column of each line.

    Raises:
        SourceError: If a line names no node, a node that is no small number stands under two patients, or a name holds
            what stands between patient and node.
    """
    units, first = [], dict[str, tuple[int, str]]()
    spelt = _spell_alike(path, [cells[NODE] for _, cells in lines])
    for number, cells in lines:
        patient, node, where = cells[PATIENT], spelt[cells[NODE]], f"{path}, line {number}"
        if node.casefold() in GAPS:
            raise SourceError(
                f"{where}: no {NODE} of patient {patient or '(none)'}.",
                "In a table with this column every line names its node; a patient's only one may be 1.",
            )
        if held := [name for name in (patient, node) if SEPARATOR in name]:
            raise SourceError(
                f"{where}: {held[0]!r} holds {SEPARATOR!r}.", "It stands between patient and node: rename."
            )
        before, other = first.setdefault(node, (number, patient))
        if other != patient and not (node.isdecimal() and len(node) <= MOST_DIGITS):
            raise SourceError(
                f"{path}: node {node} is of patient {other} in line {before}, of {patient} in line {number}.",
                f"A node belongs to one patient: mend one of the lines. Only numbers of up to {MOST_DIGITS} digits "
                "count within each patient.",
            )
        units.append(node_name(patient, node) if patient.casefold() not in GAPS else patient)
    return units


def remark_on_headings(columns: Sequence[str]) -> list[str]:
    """Warn of columns that may be meant to name nodes where none is called so."""
    if NODE in columns:
        return []
    meant = [name for name in columns if "".join(filter(str.isalpha, spelling_key(name))) in MEANT]
    return [
        f"Warning: column {name!r} names no nodes: call it {NODE} if each has a label of its own." for name in meant
    ]


def remark_on_spellings(units: Iterable[str]) -> list[str]:
    """Warn of patients, and of nodes of one patient, whose names differ only in spelling."""
    nodes: dict[str, list[str]] = {}
    for unit in units:
        nodes.setdefault(patient_of(unit), []).append(unit.partition(SEPARATOR)[2])
    alike = [f"patients {' and '.join(map(repr, group))}" for group in spelt_alike(nodes, label_key)]
    for patient, names in nodes.items():
        groups = spelt_alike(names, label_key)
        alike += [f"nodes {' and '.join(map(repr, group))} of patient {patient!r}" for group in groups]
    return [f"Warning: {names} differ only in spelling, and are taken for several." for names in alike]


def remark_on_patients(values: pd.DataFrame) -> list[str]:
    """Warn of columns of patients, such as age and sex, that differ between the nodes of one."""
    patients, remarks = values[PATIENT].map(patient_of), []
    for name in map(str, values.columns):
        if OF_PATIENTS.isdisjoint(spelling_key(name).replace("_", " ").replace("(", " ").split()):
            continue
        n_values = values[name].groupby(patients).nunique()
        differing = n_values > 1
        if differing.any():
            first, count = differing.idxmax(), int(differing.sum())
            remarks.append(f"Warning: column {name!r} differs between nodes of {first!r}; patients with such: {count}.")
    return remarks


def _spell_alike(path: Path, nodes: Collection[str]) -> dict[str, str]:
    """Spell each node: where all are whole numbers, without the decimals of some."""
    known = {node for node in nodes if node.casefold() not in GAPS}
    whole = {node: found[1] for node in sorted(known) if (found := _WHOLE.fullmatch(node))}
    if len(whole) < len(known):
        whole = {}
    if read := next((f"{node} as {short}" for node, short in whole.items() if node != short), ""):
        say(f"{path}: column {NODE} holds whole numbers with decimals: read without ({read}).")
    return {node: whole.get(node, node) for node in nodes}
