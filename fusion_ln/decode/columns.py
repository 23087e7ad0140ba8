"""Columns of a text table as numbers, texts, dates or paths of pictures, with their gaps and odd cells."""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from fusion_ln.decode.kinds import NOT_READ, READ
from fusion_ln.decode.picture import looks_like_picture
from fusion_ln.decode.table import spelt_alike

CATEGORY_LEVELS = 6  # whole numbers with at most this many distinct values are scores or codes, not measurements
MOST_LEVELS = 30  # text with more is free text or an identifier
# Spellings of a gap: in any column, and, since they may be a level of a category, only among numbers and pictures.
GAPS = frozenset({"", "na", "n/a", "#n/a", "nan", "<na>", "null"})
NUMBER_GAPS = GAPS | set("-–—?.") | {"--", "none", "unknown", "unk", "missing", "n.a.", "n.d.", "未知", "不详"}
NUMBER, DECIMAL_COMMA, GROUPED = "number", "number, decimal comma", "number, thousands grouped"
TEXT, DATES, PICTURES, EMPTY = "text", "dates", "pictures", "empty"
ASKED_FIRST = 20  # cells
CELLS_NAMED = 5  # odd cells or levels of a column

_WHOLE = r"[+-]?(?:0|[1-9]\d{0,14})"  # without leading zeros, and no more digits than a float holds
_PLAIN = re.compile(rf"{_WHOLE}(?:\.\d*)?(?:[eE][+-]?\d+)?|[+-]?\.\d+", re.ASCII)
_IN_COMMAS = re.compile(rf"{_WHOLE}(?:,\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", re.ASCII)  # or three decimals
_GROUP = r"[+-]?[1-9]\d{{0,2}}(?:{0}\d{{3}})+(?:{1}\d+)?"  # with a sign between thousands, and a decimal one
# Signs of thousands and decimals that go together, and how a number with the first is written.
_WAYS = [
    (sign, decimal, re.compile(_GROUP.format(re.escape(sign), re.escape(decimal)), re.ASCII))
    for sign, decimal in [(",", "."), (".", ","), *((sign, decimal) for sign in "'’ \xa0\u202f" for decimal in ".,")]
]
_POINT_GROUPS = _WAYS[1][2]
_NUMBER = r"[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\s*(?:[-–—~±]|\.\.\.?|…|to)\s*{_NUMBER}\s*[A-Za-zµμ%°]*", re.ASCII)  # "0.5-1"
_SIGNS = str.maketrans("０１２３４５６７８９．，＋－−", "0123456789.,+--")  # full width; a minus
_MEASURE = re.compile(rf"[<>≤≥~≈]?=?\s*({_NUMBER})\s*[A-Za-zµμ%°²³/]*", re.ASCII)  # "<5", "12 mm"
_DAY = re.compile(r"(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])", re.ASCII)  # as in DICOM
_DATE = re.compile(r"(?:\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2\d{2,4})(?:[ T]\d.*)?", re.ASCII)


@dataclass(frozen=True)
class Column:
    """A column of a user's table as it was read.

    Attributes:
        kind: `NUMBER`, `DECIMAL_COMMA`, `GROUPED`, `TEXT`, `DATES`, `PICTURES` or `EMPTY`.
        gaps: How often each spelling of a gap was met.
        odd: Cells that a person should look at, each with its lines.
        levels: Different texts of a text column.
        nearly_numeric: A text column that would be a measurement but for its odd cells.
        comma: Cell of a column of decimal commas where commas also separate the cells; it may have been a list.
    """

    name: str
    kind: str
    gaps: Mapping[str, int] = field(default_factory=dict)
    odd: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    nearly_numeric: bool = False
    comma: str = ""

    @property
    def warning(self) -> str:
        """Warning that the column is nearly numeric, or may hold lists in place of numbers; empty if neither."""
        if self.comma:
            return (
                f"Warning: column {self.name!r}: {self.comma!r} read as {self.comma.replace(',', '.')}, a decimal "
                f"comma. Write {self.comma.replace(',', ';')!r} if these are lists."
            )
        if not self.nearly_numeric:
            return ""
        return (
            f"Warning: column {self.name!r} is nearly numeric, but for {_some(self.odd)}, and stays text. Write these "
            "cells as plain numbers, or leave them empty, to have it as numbers."
        )


def read_columns(
    cells: pd.DataFrame, folder: Path, *, texts: Collection[str] = (), separator: str = ""
) -> tuple[pd.DataFrame, list[Column]]:
    """Read columns of text as what they hold.

    A column of numbers is numeric, with gaps as NaN. Decimal commas are read where no cell of the column has a point
    and one cell of the table cannot be a group of thousands; groups of thousands where all cells of a column can be
    read in one way alone. Anything else stays text, with gaps as None: codes with leading zeros, numbers of more than
    15 digits, dates, and a column in which one cell is no number.

    Args:
        cells: Text without blanks around it; the index holds line numbers.
        folder: Folder that paths of pictures are relative to.
        texts: Columns that hold names: they stay text whatever they look like.
        separator: Sign between the cells; with a comma, columns of decimal commas are warned of.

    Returns:
        The columns, with the index of ``cells``, and a description of each.
    """
    comma_found = any(_has_clear_comma(cells[name]) for name in cells if name not in texts)
    read = [
        _as_text(cells[name]) if name in texts else _read_column(cells[name], folder, comma_found) for name in cells
    ]
    values = pd.DataFrame({column.name: held for held, column in read}, index=cells.index)
    described = [column for _, column in read]
    for place, column in enumerate(described):
        if separator == "," and column.kind == DECIMAL_COMMA:
            described[place] = replace(column, comma=next(cell for cell in cells[column.name] if "," in cell))
    return values, described


def describe_columns(columns: Sequence[Column]) -> str:
    """Make a short table of columns: name, kind, gaps, odd cells."""
    rows = [("column", "kind", "gaps", "odd cells")]
    for column in columns:
        gaps = ", ".join(f"{n} {spelling or 'empty'}" for spelling, n in column.gaps.items())
        kind = f"{column.kind}: {_some(column.levels)}" if column.levels else column.kind
        rows.append((column.name, kind, gaps, _some(column.odd)))
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    return "\n".join("  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows)


def reason_against_categories(texts: pd.Series) -> str:
    """State why the known cells of a text column are no categories; empty if they may be."""
    cells = texts.dropna().astype(str)
    if 2 * cells.map(lambda cell: Path(cell).suffix.lower() in READ | NOT_READ.keys()).sum() > len(cells):
        return "paths of pictures"
    if cells.map(_fits(_DATE)).all() or cells.map(_fits(_DAY)).all():
        return "dates"
    odd = _odd_among_numbers(cells)
    return f"nearly numeric, but for {_some(tuple(map(repr, odd.unique())))}" if len(odd) else ""


def is_gap(cell: str) -> bool:
    """Check for a spelling of a gap in a column of numbers or pictures."""
    return cell.casefold() in NUMBER_GAPS


def _read_column(cells: pd.Series, folder: Path, comma_found: bool) -> tuple[pd.Series, Column]:
    known, gaps = _split_gaps(cells, NUMBER_GAPS)
    column = Column(str(cells.name), EMPTY, gaps)
    if known.empty:
        return pd.Series(float("nan"), index=cells.index), column
    if _holds_pictures(known, folder):
        return known.reindex(cells.index), replace(column, kind=PICTURES)
    if known.map(_fits(_DAY)).all():
        return known.reindex(cells.index), replace(column, kind=DATES)
    numbers, kind = _read_numbers(known.str.translate(_SIGNS), comma_found)
    if numbers is not None:
        return pd.to_numeric(numbers.reindex(cells.index)), replace(column, kind=kind)
    if known.map(_fits(_DATE)).all():
        return known.reindex(cells.index), replace(column, kind=DATES)
    values, column = _as_text(cells)
    odd = _odd_among_numbers(known)
    return values, replace(column, odd=(*_with_lines(odd), *column.odd), nearly_numeric=len(odd) > 0)


def _read_numbers(numbers: pd.Series, comma_found: bool) -> tuple[pd.Series | None, str]:
    """Write numbers with a decimal point and no groups, and tell how they were written; None if some are none."""
    if numbers.map(_is_number).all() and not (comma_found and _all_thousands(numbers, ".")):
        return numbers, NUMBER
    if comma_found and numbers.map(_fits(_IN_COMMAS)).all():
        return numbers.str.replace(",", "."), DECIMAL_COMMA
    return _ungroup(numbers), GROUPED


def _holds_pictures(known: pd.Series, folder: Path) -> bool:
    """Check whether most cells are paths of pictures; one of the first must be, since each may ask the disk."""

    def is_picture(cell: str) -> bool:
        return looks_like_picture(folder / cell.replace("\\", "/"))

    return any(map(is_picture, known[:ASKED_FIRST])) and 2 * sum(map(is_picture, known)) > len(known)


def find_picture(column: Column, cells: pd.Series, folder: Path) -> tuple[int, str] | None:
    """Find the first cell of a column that is a path of a picture, and its line; None if it holds none.

    In a column of text, a sentence that ends in a picture's name is no path unless there is such a file.
    """
    if column.kind not in (PICTURES, TEXT):
        return None
    for line, cell in cells.dropna().drop_duplicates().items():
        place = folder / str(cell).replace("\\", "/")
        if looks_like_picture(place) and (column.kind == PICTURES or " " not in str(cell) or _is_file(place)):
            return int(str(line)), str(cell)
    return None


def _is_file(place: Path) -> bool:
    with suppress(OSError):  # a text that no file can have as its name
        return place.is_file()
    return False


def _as_text(cells: pd.Series) -> tuple[pd.Series, Column]:
    known, gaps = _split_gaps(cells, GAPS)
    doubtful = _with_lines(known[known.map(is_gap)])
    alike = [f"{' and '.join(map(repr, group))} differ only in spelling" for group in spelt_alike(known)]
    kind = EMPTY if known.empty else TEXT
    column = Column(str(cells.name), kind, gaps, (*doubtful, *alike), tuple(sorted(known.unique())))
    return known.reindex(cells.index), column


def _split_gaps(cells: pd.Series, spellings: Collection[str]) -> tuple[pd.Series, dict[str, int]]:
    """Split off the gaps; count each spelling."""
    gaps = cells.map(lambda cell: cell.casefold() in spellings).astype(bool)
    return cells[~gaps], dict(Counter(cells[gaps]))


def _odd_among_numbers(known: pd.Series) -> pd.Series:
    """Find the cells that keep a column from being a measurement; none if it is none without them.

    More than half of its cells begin with a number, and these have more values than a score or a code. Ranges alone
    are the bands of a category.
    """
    numbers = known.str.translate(_SIGNS)
    measures = numbers.map(_measure).astype(float).dropna()
    is_measurement = measures.nunique() > CATEGORY_LEVELS or bool((measures % 1 != 0).any())
    has_groups = any(map(_grouped, numbers))
    is_measurement |= has_groups
    in_bands = 2 * numbers.map(_fits(_RANGE)).sum() > len(known) and not (has_groups or numbers.map(_is_number).any())
    if 2 * len(measures) <= len(known) or in_bands or not is_measurement:
        return known[:0]
    odd = known[~numbers.map(_is_number).astype(bool)]
    return odd if len(odd) else known


def _measure(number: str) -> float | None:
    """Read the number in ``12 mm``, ``<5`` or ``007``, the first of a range, one with its thousands grouped."""
    if found := _MEASURE.fullmatch(number) or _RANGE.fullmatch(number):
        value = float(found[1].replace(",", "."))
        return value if math.isfinite(value) else None
    return float(plain) if (plain := _grouped(number)) else None


def _grouped(number: str) -> str:
    """Write a number with its thousands grouped without the groups; empty if it is none, or may be a decimal."""
    if not _THOUSANDS.fullmatch(number):
        for sign, decimal, pattern in _WAYS:
            if pattern.fullmatch(number):
                return number.replace(sign, "").replace(decimal, ".")
    return ""


def _ungroup(numbers: pd.Series) -> pd.Series | None:
    """Write a column's numbers without groups of thousands; None if some are none, or may be read in two ways."""
    if not any(map(_grouped, numbers)):
        return None
    read = []
    doubtful = any(map(_THOUSANDS.fullmatch, numbers))
    for sign, decimal, pattern in _WAYS:
        if doubtful and sign not in ".,":
            continue
        fits = numbers.map(_fits(pattern)) | numbers.map(_fits(re.compile(rf"{_WHOLE}(?:{re.escape(decimal)}\d+)?")))
        plain = numbers.str.replace(sign, "").str.replace(decimal, ".")
        if fits.all() and plain.map(_is_number).all():
            read.append(plain)
    return read[0] if read and all(plain.equals(read[0]) for plain in read) else None


def _is_number(cell: str) -> bool:
    return bool(_PLAIN.fullmatch(cell)) and math.isfinite(float(cell))


def _has_clear_comma(cells: pd.Series) -> bool:
    """Check for a column in decimal commas, one of which cannot be a group of thousands, or ``1.100,5``."""
    known = _split_gaps(cells, NUMBER_GAPS)[0].str.translate(_SIGNS)
    if any("," in cell and _POINT_GROUPS.fullmatch(cell) for cell in known):
        return True
    return bool(known.map(_fits(_IN_COMMAS)).all()) and "," in "".join(known) and not _all_thousands(known, ",")


def _all_thousands(numbers: pd.Series, sign: str) -> bool:
    """Check whether every ``sign`` in a column may be that of a group of thousands; False without one."""
    marked = [number for number in numbers if sign in number]
    return bool(marked) and all(map(_THOUSANDS.fullmatch, marked))


def _fits(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda cell: bool(pattern.fullmatch(cell))


def _with_lines(cells: pd.Series) -> tuple[str, ...]:
    """Name different cells with the lines that hold them."""
    found = []
    for cell, lines in cells.groupby(cells, sort=False).groups.items():
        named = ", ".join(map(str, lines[:CELLS_NAMED])) + (", ..." if len(lines) > CELLS_NAMED else "")
        found.append(f"{cell!r} (line{'s' if len(lines) > 1 else ''} {named})")
    return tuple(found)


def _some(texts: Sequence[str]) -> str:
    """List the first few, and how many more there are."""
    more = len(texts) - CELLS_NAMED
    return ", ".join(texts[:CELLS_NAMED]) + (f" and {more} more" if more > 0 else "")
