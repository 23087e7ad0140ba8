"""A sheet of an Excel workbook becomes lines of text."""

import io
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING

from fusion_ln.errors import SourceError, pip_install

if TYPE_CHECKING:
    from openpyxl.worksheet._read_only import ReadOnlyWorksheet

SheetLine = tuple[int, list[str]]  # number of the line in the file, its cells

INSTALL_EXCEL = f"Install the Excel reader with {pip_install('excel')}, or save the sheet as CSV."
OLD_EXCEL = b"\xd0\xcf\x11\xe0"
ZIP = b"PK\x03\x04"
MOST_UNPACKED = 50_000_000  # bytes of the XML in a workbook
_MERGED = re.compile(rb"""<(?:\w+:)?mergeCell\s[^>]*?\bref=["']([A-Z]+\d+:[A-Z]+\d+)["']""")


def is_workbook(content: bytes) -> bool:
    """Recognise an Excel file by its content, since people rename files."""
    return content.startswith((ZIP, OLD_EXCEL))


def read_workbook(path: Path, content: bytes) -> tuple[list[SheetLine], tuple[str, ...]]:
    """Read the first sheet that holds something, as the sheet shows it; a remark names it if there are several.

    Raises:
        SourceError: If it is no .xlsx workbook or too large, openpyxl is missing, cells are merged, or a formula has no
            stored result.
    """
    if content.startswith(OLD_EXCEL):
        raise SourceError(f"{path}: a workbook of an old or encrypted kind.", "Save it as .xlsx without a password.")
    try:
        import openpyxl
    except ImportError:
        raise SourceError(f"{path}: an Excel file, and openpyxl is not installed.", INSTALL_EXCEL) from None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(part.file_size for part in archive.infolist() if not _is_picture(part))
        if unpacked > MOST_UNPACKED:
            raise SourceError(
                f"{path}: {unpacked / 1e6:.0f} MB when unpacked; a workbook has at most {MOST_UNPACKED / 1e6:.0f}.",
                "Save its table as CSV.",
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of features that do not touch a cell's value
            shown, stored = (
                openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=results)
                for results in (True, False)
            )
            return _first_filled(path, shown.worksheets, stored.worksheets)
    except SourceError:
        raise
    except Exception as error:  # openpyxl meets damaged files with nearly any exception
        raise SourceError(
            f"{path}: cannot be read as an Excel workbook ({str(error) or type(error).__name__}).",
            "Save it as .xlsx or CSV.",
        ) from None


def _is_picture(part: zipfile.ZipInfo) -> bool:
    """Recognise a picture within a workbook, which nobody unpacks: its bytes hardly shrink."""
    return part.filename.startswith("xl/media/") and part.file_size < 2 * part.compress_size


def _first_filled(
    path: Path, shown: Sequence["ReadOnlyWorksheet"], stored: Sequence["ReadOnlyWorksheet"]
) -> tuple[list[SheetLine], tuple[str, ...]]:
    """Read the first visible sheet that holds something, from its results and its formulas."""
    for results, formulas in zip(shown, stored, strict=True):
        if results.sheet_state == "visible" and (rows := _rows(path, results, formulas)):
            remark = f"{path}: read the sheet {results.title!r}, the first of {len(shown)}."
            return rows, (remark,) if len(shown) > 1 else ()
    return [], ()


def _rows(path: Path, results: "ReadOnlyWorksheet", formulas: "ReadOnlyWorksheet") -> list[SheetLine]:
    """Read the filled rows of a sheet, all padded to one width."""
    for sheet in (results, formulas):
        sheet.reset_dimensions()  # they may claim a million rows
    rows = []
    for number, (row, written) in enumerate(zip(results.iter_rows(), formulas.iter_rows(), strict=True), start=1):
        for cell, formula in zip(row, written, strict=True):
            if cell.value is None and cell.data_type == "n" and formula.data_type == "f":
                raise SourceError(
                    f"{path}: the formula in cell {cell.coordinate} of sheet {results.title!r} has no stored result.",
                    "Open the file in a spreadsheet program and save it, or save it as CSV.",
                )
        cells = [_as_text(cell.value, cell.number_format or "") if cell.value is not None else "" for cell in row]
        if any(map(str.strip, cells)):
            rows.append((number, cells))
    _refuse_merged(path, results, dict(rows))
    width = max((len(cells) for _, cells in rows), default=0)
    return [(number, cells + [""] * (width - len(cells))) for number, cells in rows]


def _refuse_merged(path: Path, sheet: "ReadOnlyWorksheet", cells: Mapping[int, Sequence[str]]) -> None:
    """Refuse a value over merged cells: the sheet stores it in the first of them, and the others read as gaps."""
    from openpyxl.utils import range_boundaries

    with sheet._get_source() as source:
        ranges = [found.decode() for found in _MERGED.findall(source.read())]
    for merged in ranges:
        column, row, *_ = range_boundaries(merged)
        if "".join(cells.get(int(row or 0), ())[int(column or 0) - 1 :][:1]).strip():
            raise SourceError(
                f"{path}: cells {merged} of sheet {sheet.title!r} are merged, so that one cell holds the value of all.",
                "Unmerge them and fill in each cell, or save such a table as CSV.",
            )


def _as_text(value: object, number_format: str) -> str:
    """Write a cell's value as its sheet shows it, as far as that matters: dates in ISO form, ``007`` with its zeros."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, int | float) and float(value).is_integer():
        zeros = len(number_format) if re.fullmatch("0+", number_format) else 0
        return f"{int(value):0{zeros}d}"
    return str(value)
