"""A table that a user wrote (CSV in any usual encoding, or Excel) becomes cells of text, or one clear message."""

import codecs
import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path

import pandas as pd

from fusion_ln.decode.workbook import SheetLine, is_workbook, read_workbook
from fusion_ln.errors import SourceError

MOST_BYTES = 200_000_000
SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas"}  # of two that fit equally, the first
SAMPLED_LINES = 50  # that the separator is judged by
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "UTF-8", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
AS_UTF8 = "Save it as CSV with UTF-8 encoding, or as .xlsx."
MOST_NAMED = 5  # names of a warning
BINARY = re.compile("[\x00-\x08\x0e-\x19\x7f]")


@dataclass(frozen=True)
class TextTable:
    """A table as it stands in its file, without the blanks around cells and names and without empty lines.

    Attributes:
        cells: Text, by column; the index holds the number of each line in the file.
        remarks: Lines for the reader: encoding other than UTF-8, sheet of a workbook, columns without a name.
        separator: Sign between cells; empty for a workbook.
        padded: Cells that had blanks around them, by line and place of the column.
    """

    path: Path
    cells: pd.DataFrame
    remarks: tuple[str, ...] = ()
    separator: str = ""
    padded: frozenset[tuple[int, int]] = frozenset()

    @property
    def columns(self) -> list[str]:
        return [str(name) for name in self.cells.columns]

    def with_names(self, names: Iterable[str]) -> "TextTable":
        """Spell as in ``names`` each column whose name differs from one of them only in case, blanks, ``_`` or ``-``.

        Raises:
            SourceError: If two columns would have one name.
        """
        wanted = {_heading_key(name): name for name in names}
        spelt = [wanted.get(_heading_key(name), name) for name in self.columns]
        for name in wanted.values():
            if len(alike := [own for own, new in zip(self.columns, spelt, strict=True) if new == name]) > 1:
                raise SourceError(
                    f"{self.path}: columns {' and '.join(map(repr, alike))} both stand for {name!r}.",
                    "Rename or remove one of them.",
                )
        return replace(self, cells=self.cells.set_axis(spelt, axis="columns"))

    def remark_on_blanks(self, column: str) -> list[str]:
        """Warn of names in a column that stand with blanks around them and without, and are read as one."""
        if column not in self.columns:
            return []
        place, seen = self.columns.index(column), dict[str, set[bool]]()
        for line, text in self.cells[column].items():
            seen.setdefault(str(text), set()).add((int(str(line)), place) in self.padded)
        both = [repr(text) for text, ways in seen.items() if text and len(ways) > 1]
        names = ", ".join(both[:MOST_NAMED]) + (f" and {len(both) - MOST_NAMED} more" if len(both) > MOST_NAMED else "")
        return [f"Warning: {self.path}: {column} {names}: also with blanks around it, taken for one."] if both else []


def spelling_key(text: str) -> str:
    """Make the key that spellings of one word share.

    Case, width of signs, blanks, signs that no screen shows, kinds of dashes and apostrophes, and Cyrillic or Greek
    letters in place of Latin ones that look the same do not count.
    """
    signs = [(sign, unicodedata.category(sign)) for sign in unicodedata.normalize("NFKC", text).casefold()]
    shown = "".join("-" if kind == "Pd" else sign for sign, kind in signs if kind != "Cf")
    return " ".join(shown.translate(_TWINS).split())


_TWINS = str.maketrans("аеіјорсухѕԁһαικνορυ’‘ʼ", "aeijopcyxsdhaikvopu'''")


def _heading_key(text: str) -> str:
    """Make the key that spellings of one column's name share: as `spelling_key`, and ``_`` and ``-`` are blanks."""
    return spelling_key(text.replace("_", " ").replace("-", " "))


def label_key(text: str) -> str:
    """Make the key that spellings of one label share: as `spelling_key`, and ``1``, ``01`` and ``1.0`` are one."""
    key = spelling_key(text)
    number = _LABEL_NUMBER.fullmatch(key)
    return f"{number[1]}{number[2]}.{number[3] or ''}" if number else key


_LABEL_NUMBER = re.compile(r"\+?(-?)0*(\d+)(?:\.(\d*?)0*)?", re.ASCII)


def spelt_alike(texts: Iterable[str], key: Callable[[str], str] = spelling_key) -> list[list[str]]:
    """Group different texts that are spellings of one word, which share their ``key``."""
    by_key: dict[str, list[str]] = {}
    for text in dict.fromkeys(texts):
        by_key.setdefault(key(text), []).append(text)
    return [group for group in by_key.values() if len(group) > 1]


def refuse_spellings(
    path: Path, column: str, texts: Iterable[str], way_out: str, key: Callable[[str], str] = spelling_key
) -> None:
    """Raise SourceError if names in a column differ only in spelling: they would be taken for several."""
    if pairs := [" and ".join(map(repr, group)) for group in spelt_alike(texts, key)]:
        raise SourceError(f"{path}: {column} {', '.join(pairs)} differ only in spelling.", way_out)


def read_table(path: Path, expected: str) -> TextTable:
    """Read a CSV file, or the first filled sheet of an Excel workbook, as text.

    Encodings are tried in order: what a byte order mark says, UTF-8, GB18030 if the text is common Chinese,
    Windows-1252. Of tabs, semicolons and commas, the separator is the one that gives every line the same number of
    cells and, among these, the most columns. The parser is Python's: pandas' does not tell the line of a cell.

    Args:
        path: The file.
        expected: One sentence on the columns that it should have, for messages.

    Raises:
        SourceError: If the file is missing, too large, no table, holds no line below its header, or a line whose
            cells do not fit the header.
    """
    content = _read_bytes(path, expected)
    if is_workbook(content):
        rows, remarks = read_workbook(path, content)
        separator = ""
    else:
        text, remarks = _decode(path, content)
        rows, separator = _parse(path, text)
    return replace(_tabulate(path, rows, remarks, expected), separator=separator)


def _read_bytes(path: Path, expected: str) -> bytes:
    if not path.is_file():
        reason = "is a folder" if path.is_dir() else "no such file"
        raise SourceError(f"{path}: {reason}.", f"Give a CSV or Excel file. {expected}")
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise SourceError(f"{path}: {size / 1e6:.0f} MB; a table has at most {MOST_BYTES / 1e6:.0f}.", expected)
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}).", "Check the file's permissions.") from None


def _decode(path: Path, content: bytes) -> tuple[str, tuple[str, ...]]:
    """Decode a text file; remarks on an encoding that had to be guessed."""
    encoding, remarks = _find_encoding(path, content)
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not text ({error}).", AS_UTF8) from None
    if found := BINARY.search(text):
        raise SourceError(f"{path}: not a text file (it holds the sign {found[0]!r}).", AS_UTF8)
    return text, remarks


def _find_encoding(path: Path, content: bytes) -> tuple[str, tuple[str, ...]]:
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return encoding, (f"{path}: read as {encoding}.",) if encoding != "UTF-8" else ()
    try:
        content.decode()
        return "UTF-8", ()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    loose = content.decode(errors="replace")
    damaged = loose.count("\ufffd")
    if 4 * damaged <= sum(letter > "\x7f" for letter in loose) - damaged:
        raise SourceError(f"{path}, line {line}: damaged UTF-8 text.", f"Mend or export the file again. {AS_UTF8}")
    chinese = _is_common_chinese(content)
    encoding, script = ("GB18030", "Chinese") if chinese else ("Windows-1252", "Western European")
    remark = f"{path}: not UTF-8 (line {line}), read as {encoding} ({script}). If words look wrong, save it as UTF-8."
    return encoding, (remark,)


def _is_common_chinese(content: bytes) -> bool:
    """Check whether most signs beyond ASCII are common Chinese ones when the bytes are read as GB18030.

    GB18030 takes many texts of other encodings, but makes rare signs of them: of a Western letter with the ASCII
    letter behind it, or of two Western letters within a word.
    """
    try:
        text = content.decode("GB18030")
    except UnicodeDecodeError:
        return False
    outside = sum(letter > "\x7f" for letter in text)
    runs = "".join(re.findall(r"(?<![A-Za-z])[^\x00-\x7f]+|[^\x00-\x7f]+(?![A-Za-z])", text))
    # GB2312 orders its signs: punctuation and letters up to 0xA9, the common characters up to 0xD7, then rare ones.
    common = sum(letter.encode("GB2312", errors="ignore")[:1] not in (b"", *_RARE) for letter in runs)
    return 2 * common > outside


_RARE = tuple(bytes([lead]) for lead in range(0xD8, 0xF8))


def _parse(path: Path, text: str) -> tuple[list[SheetLine], str]:
    """Split text into lines of cells; also return the sign that separates them."""
    head, _, rest = text.partition("\n")
    skipped = 0
    if stated := re.fullmatch(r"sep=(.)\s*", head):  # Excel's own first line
        separator, text, skipped = stated[1], rest, 1
    else:
        separator = max(SEPARATORS, key=lambda each: _fit(text, each))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    spaced = chain(
        csv.reader(io.StringIO(text, newline=""), delimiter=separator), repeat([])
    )  # blanks before cells too
    lines = []
    try:
        for cells, wide in zip(reader, spaced, strict=False):
            same = list(map(str.strip, wide)) == list(map(str.strip, cells))
            lines.append((reader.line_num + skipped, wide if same else cells))
    except csv.Error as error:
        raise SourceError(
            f"{path}, line {reader.line_num + skipped}: not a line of CSV ({error}).",
            'Look for a quotation mark (") that is not closed; one within a cell is written twice.',
        ) from None
    return lines, separator


def _fit(text: str, separator: str) -> tuple[bool, bool, int]:
    """Judge a separator: it splits the header, it splits all lines alike, and into how many cells."""
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
        widths = [len(cells) for cells in islice(lines, SAMPLED_LINES) if any(map(str.strip, cells))]
    except csv.Error:
        return False, False, 0
    return (widths[0] > 1, len(set(widths)) == 1, widths[0]) if widths else (False, False, 0)


def _tabulate(path: Path, rows: Sequence[SheetLine], remarks: tuple[str, ...], expected: str) -> TextTable:
    """Make a table of a header and the lines below it; leave out columns without a name and without a cell."""
    filled = [(number, list(map(str.strip, cells))) for number, cells in rows if any(map(str.strip, cells))]
    if len(filled) < 2:
        raise SourceError(f"{path}: {'no line below its header' if filled else 'empty'}.", expected)
    (_, header), *lines = filled
    n_named = max(place for place, name in enumerate(header, start=1) if name)
    for number, cells in lines:
        if len(cells) < n_named or any(cells[len(header) :]):
            raise SourceError(
                f"{path}, line {number}: {len(cells)} cells, but the header has {len(header)} columns.",
                "Put quotes around a cell that holds the separator.",
            )
    grid = pd.DataFrame(
        [cells[: len(header)] + [""] * (len(header) - len(cells)) for _, cells in lines],
        index=pd.Index([number for number, _ in lines], name="line"),
        dtype=object,
    )
    unnamed = [place for place, name in enumerate(header) if not name and (grid[place] != "").any()]
    names = {place: name or f"column {place + 1}" for place, name in enumerate(header) if name or place in unnamed}
    if twice := [name for name, count in Counter(names.values()).items() if count > 1]:
        raise SourceError(f"{path}: column {twice[0]!r} stands in it twice.", "Rename or remove one of them.")
    remarks += tuple(f"{path}: column {place + 1} has no name and is called {names[place]!r}." for place in unnamed)
    padded = frozenset(
        (number, kept)
        for number, cells in rows
        for kept, place in enumerate(names)
        if place < len(cells) and cells[place] != cells[place].strip()
    )
    return TextTable(path, grid[list(names)].set_axis(list(names.values()), axis="columns"), remarks, padded=padded)
