"""Column of nodes in a table of patients: each line of a node, which has a label and pictures of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fusion_ln.decode.columns import GAPS
from fusion_ln.errors import SourceError
from fusion_ln.terms import NODE, PATIENT
from fusion_ln.units import SEPARATOR, node_name

MOST_DIGITS = 2  # of a number that counts within the patient


def name_nodes(path: Path, lines: Sequence[tuple[int, Mapping[str, str]]]) -> list[str]:
    """Name the unit of each line of a table with a column of nodes.

    Args:
        path: The table, for messages.
        lines: Number in the file and cells by column of each line.

    Raises:
        SourceError: If a line names no node, a node that is no small number stands under two patients, or a name holds
            what stands between patient and node.
    """
    units, first = [], dict[str, tuple[int, str]]()
    for number, cells in lines:
        patient, node, where = cells[PATIENT], cells[NODE], f"{path}, line {number}"
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
