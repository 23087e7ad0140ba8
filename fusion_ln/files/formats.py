"""Texts, JSON, CSV, Parquet and NumPy arrays, written atomically."""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from fusion_ln.files.atomic import reserve, write_atomically
from fusion_ln.units import split_units

T = TypeVar("T")
# A spreadsheet runs a cell that begins so; plain numbers and a sign alone are none of these.
FORMULA = re.compile(r"(?![-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?\Z)\s*(?:[=+@＝＋－＠-](?!\Z)|[\t\n])")


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically. NaN is a bug here and raises ValueError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write ``table`` without its index, atomically; the same table gives the same bytes.

    Nodes have a column of their own there, see `fusion_ln.units`.
    """
    split = split_units(table)
    write_atomically(path, lambda temporary: split.to_parquet(temporary, index=False))


def csv_text(table: pd.DataFrame) -> str:
    """Write ``table`` without its index as CSV for people: a text that a spreadsheet would run gets an apostrophe."""
    table = split_units(table)
    texts = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    table = table.assign(**{str(name): table[name].astype(object).map(_as_no_formula) for name in texts})
    text: str = table.rename(columns=_as_no_formula).to_csv(index=False, lineterminator="\n")
    return text


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write ``table`` as `csv_text`, atomically."""
    write_text(path, csv_text(table))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays under their names in one compressed NumPy file (``.npz``), atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # a name would get NumPy's own suffix
            np.savez_compressed(file, allow_pickle=False, **arrays)

    write_atomically(path, write)


def parse(text: str, loads: Callable[[str], T]) -> T:
    """Parse a text, by `tomllib.loads` or `json.loads`.

    Raises:
        ValueError: If it does not hold the format, or is nested too deeply.
    """
    try:
        return loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_rows(path: Path, rows: Iterable[np.ndarray], shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Write an array of this shape row by row as a NumPy file (``.npy``), atomically.

    Its room is reserved first, so a full disk ends the work before the rows are computed. They are written, not mapped:
    a disk that fills up while a file is mapped kills the process.
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, described)
            end = file.tell() + math.prod(shape) * dtype.itemsize
            file.flush()
            reserve(file, end)
            for row in rows:
                file.write(row.astype(dtype, copy=False).tobytes())
            assert file.tell() == end, "as many rows as the shape says"

    write_atomically(path, write)


def _as_no_formula(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    text = cell.replace("\r\n", "\n").replace("\r", "\n")  # pandas puts no quotes around a carriage return
    return f"'{text}" if FORMULA.match(text) else text
