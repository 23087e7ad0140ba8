"""Comparison of what a file says with what its tables give: the first deviation is an error that names the place."""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fusion_ln.errors import VerifyError

DIGITS = 13  # of a number's 16: another machine may round the last ones otherwise
ROUNDING = 1e-14  # differences below it are rounding, as those of a zero
SMALL = 9  # digits, beyond which a difference may stem from other versions of packages, too
NEARLY = "So small a difference may be other versions of packages; on the same ones the file was changed: restore it."
NAMED_CELLS = 3  # cells of a row that name it in a message
WAY_OUT = "One of the two was changed after the run was written: restore it, or make the run again."


def same(found: object, expected: object, digits: int = DIGITS) -> bool:
    """Test whether two values agree: numbers, and texts that hold numbers, to some digits."""
    if found == expected:
        return True
    a, b = _number(found), _number(expected)
    if a is None or b is None:
        return False
    return math.isclose(a, b, rel_tol=10.0**-digits, abs_tol=10.0 ** (DIGITS - digits) * ROUNDING) or (
        math.isnan(a) and math.isnan(b)
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def deviation(path: Path, place: str, found: object, expected: object) -> VerifyError:
    """Describe a deviation: file, place in it, what was found and what was expected."""
    close = same(found, expected, SMALL)
    return VerifyError(f"{path}: {place}: found {found}; expected {expected}.", NEARLY if close else WAY_OUT)


def compare_values(path: Path, found: object, expected: object, key: str = "", digits: int = DIGITS) -> None:
    """Compare two nested values of JSON.

    Raises:
        VerifyError: Naming the first key at which they differ.
    """
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in [*expected, *(name for name in found if name not in expected)]:
            inner = f"{key}.{name}" if key else str(name)
            compare_values(path, found.get(name, "nothing"), expected.get(name, "nothing"), inner, digits)
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            compare_values(path, one, other, f"{key}[{number}]", digits)
    elif not same(found, expected, digits):
        raise deviation(path, key, found, expected)


def compare_frames(
    path: Path, found: pd.DataFrame, expected: pd.DataFrame, key: Sequence[str], digits: int = DIGITS
) -> None:
    """Compare two tables of a run, their rows joined by ``key``.

    Raises:
        VerifyError: Naming the first row and column at which they differ.
    """
    columns = list(expected.columns)
    if list(found.columns) != columns:
        raise deviation(path, "columns", ", ".join(map(str, found.columns)), ", ".join(map(str, columns)))
    held, given = (table.sort_values(list(key), ignore_index=True) for table in (found, expected))
    rows = [list(zip(*(table[name] for name in key), strict=True)) for table in (held, given)]
    if rows[0] != rows[1]:
        times = [Counter(of_table) for of_table in rows]
        row = next(row for row in [*rows[0], *rows[1]] if times[0][row] != times[1][row])
        found_times, expected_times = (f"{_named(key, row)} in {each[row]} rows" for each in times)
        raise deviation(path, "rows", found_times, expected_times)
    for column in columns:
        for row, one, other in zip(rows[0], held[column].tolist(), given[column].tolist(), strict=True):
            if not same(one, other, digits):
                raise deviation(path, f"{_named(key, row)}, column {column}", one, other)


def _named(key: Sequence[str], row: Sequence[object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(key, row, strict=True))


def compare_csv(path: Path, found: str, expected: str) -> None:
    """Compare two CSV texts cell by cell.

    Raises:
        VerifyError: Naming the first line and column at which they differ.
    """
    held, given = (list(csv.reader(io.StringIO(text))) for text in (found, expected))
    header = given[0] if given else []
    if (held[0] if held else []) != header:
        raise deviation(path, "columns", ", ".join(held[0] if held else ["none"]), ", ".join(header))
    for line, (row, wanted) in enumerate(zip(held, given, strict=False), start=1):
        if len(row) != len(wanted):
            raise deviation(path, f"line {line}", f"{len(row)} cells", len(wanted))
        for column, one, other in zip(header, row, wanted, strict=True):
            if not same(one, other):
                names = ", ".join(wanted[:NAMED_CELLS])
                raise deviation(path, f"line {line} ({names}), column {column}", one or "nothing", other or "nothing")
    if len(held) != len(given):
        raise deviation(path, "rows", len(held) - 1, len(given) - 1)


def compare_page(path: Path, found: str, expected: str) -> None:
    """Compare the text of two pages line by line; drawings, and links, which move with the folders, do not count.

    Raises:
        VerifyError: Naming the first line that differs.
    """
    held, given = _lines(found), _lines(expected)
    for (line, one), (_, other) in zip(held, given, strict=False):
        if one != other:
            start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
            around = slice(max(0, start - 40), start + 40)
            raise deviation(path, f"line {line}", repr(one[around]), repr(other[around]))
    if len(held) != len(given):
        raise deviation(path, "lines of text", len(held), len(given))


def _lines(page: str) -> list[tuple[int, str]]:
    """List the lines with a text, with their numbers.

    Links depend on which pages were there; a line that is about them alone holds no figure and does not count.
    """
    blank = re.sub(r"<svg\b.*?</svg>", lambda drawing: "\n" * drawing[0].count("\n"), page, flags=re.DOTALL)
    found = []
    for number, line in enumerate(blank.splitlines(), start=1):
        text = " ".join(re.sub(r"<a\b[^>]*>.*?</a>", "", line).split())
        if text and ("href=" not in line or re.search(r"\d", re.sub(r"<[^>]*>", "", text))):
            found.append((number, text))
    return found
