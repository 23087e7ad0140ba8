"""Tables of a page: a table with its title, its headings on the page, and its CSV text."""

from dataclasses import dataclass
from numbers import Number

import pandas as pd

from fusion_ln.terms import SIMULATED


@dataclass(frozen=True)
class Fact:
    """A figure of a page's answer: its heading, the figure itself, and a detail below it."""

    heading: str
    figure: str
    detail: str
    colour: str = "ink"


@dataclass(frozen=True)
class Sheet:
    """A table with the name of its CSV file and its title on the page."""

    name: str
    title: str
    table: pd.DataFrame

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
        return Sheet(self.name, self.title, table)


def csv_of(table: pd.DataFrame, simulated: bool) -> str:
    """Write a table as CSV text, with a column that says so where the patients are simulated."""
    table = table.assign(**{SIMULATED: True}) if simulated else table
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text
