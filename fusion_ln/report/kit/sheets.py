"""Tables of a page: a table with its title, its headings on the page, and its CSV text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Number

import pandas as pd

from fusion_ln.evaluation.delong import MACRO
from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.files.formats import csv_text
from fusion_ln.metrics import METRICS
from fusion_ln.report.kit import style
from fusion_ln.terms import PATIENT, SIMULATED

INTERVAL = "95 % interval"
# Headings of columns that several tables have and whose name, as words, is no heading.
HEADINGS = {
    PATIENT: "Patient",
    "n": "Patients",
    "p": "p",
    "q": "Q",
    "p_holm": "p, Holm",
    "p_bh": "p, Benjamini-Hochberg",
    "bootstrap_p": "p, bootstrap",
}
COLUMN_UNITS = {"mm": "mm", "mib": "MiB", "gib": "GiB"}  # by the end of a column's name
# Words on a page for the codes of a CSV table, by column.
WORDS: Mapping[str, Mapping[str, str]] = {
    "class": {ALL_CLASSES: "All classes", MACRO: "Mean of the classes"},
    "metric": {metric.name: metric.title for metric in reversed(METRICS)},
}


MOST_ROWS = 2000  # of a table on a page, which a browser must lay out; the CSV file has all


@dataclass(frozen=True)
class Fact:
    """A figure of a page's answer: its heading, the figure itself, and a detail below it."""

    heading: str
    figure: str
    detail: str
    colour: str = "ink"


@dataclass(frozen=True)
class SheetColumn:
    """A column of a table on the page; ``is_text``: it holds words, which are aligned to the left."""

    name: str
    heading: str
    is_text: bool
    cells: Sequence[object]


@dataclass(frozen=True)
class Sheet:
    """A table with the name of its CSV file and its title on the page.

    Attributes:
        headings: Headings on the page by column, where `heading_of` gives no good one.
        words: Words on the page for values of a column, besides `WORDS`.
    """

    name: str
    title: str
    table: pd.DataFrame
    headings: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def columns(self) -> list[SheetColumn]:
        """The columns as the page shows them; the two ends of an interval, ``<x>_low`` and ``<x>_high``, make one.

        They hold the first `MOST_ROWS` rows.
        """
        shown, text_columns = [], self.text_columns
        for name in map(str, self.table.columns):
            values = self.table[name][:MOST_ROWS]
            if (high := f"{name.removesuffix('_low')}_high") in self.table and name.endswith("_low"):
                cells = [style.interval(*ends) for ends in zip(values, self.table[high][:MOST_ROWS], strict=True)]
                shown.append(SheetColumn(name, self.headings.get(name, INTERVAL), False, cells))
            elif not (name.endswith("_high") and f"{name.removesuffix('_high')}_low" in self.table):
                heading = self.headings.get(name) or heading_of(name)
                words = self.words.get(name) or WORDS.get(name, {})
                cells = [words.get(value, value) if isinstance(value, str) else value for value in values.tolist()]
                shown.append(SheetColumn(name, heading, name in text_columns, cells))
        return shown

    @property
    def cut(self) -> str:
        """The sentence on a table that the page does not show whole; empty where it does."""
        if len(self.table) <= MOST_ROWS:
            return ""
        return f"The first {MOST_ROWS:,} of {len(self.table):,} rows; all are in tables/{self.name}.csv."

    @property
    def text_columns(self) -> frozenset[str]:
        """Columns that hold words, which are aligned to the left."""
        numbers = {c for c in self.table if all(isinstance(value, Number) for value in self.table[c].dropna())}
        return frozenset(self.table.columns) - numbers

    def only(self, **values: object) -> "Sheet":
        """Keep the rows in which each named column (``class_`` for class) holds its value, or one of a list.

        A column with one value left is dropped.
        """
        table = self.table
        for name, chosen in values.items():
            column = name.rstrip("_")
            if isinstance(chosen, list):
                table = table[table[column].isin(chosen)]
            else:
                table = table[table[column].isin([chosen])].drop(columns=column)
        return replace(self, table=table)


def heading_of(column: str) -> str:
    """Give the heading of a column on a page: a word of the field, or the column's name as words, units in brackets."""
    stem, _, end = column.rpartition("_")
    words = f"{stem} [{COLUMN_UNITS[end]}]" if stem and end in COLUMN_UNITS else column
    words = words.replace("_", " ")
    return HEADINGS.get(column) or (words[:1].upper() + words[1:] if column.islower() else words)


def csv_of(table: pd.DataFrame, simulated: bool) -> str:
    """Write a table as CSV text, with a column that says so where the patients are simulated."""
    table = table.assign(**{SIMULATED: True}) if simulated else table
    return csv_text(table)
