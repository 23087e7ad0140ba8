"""Reading of files that this package wrote: a damaged one is named with the way out, or made anew."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_complex_dtype, is_integer_dtype, is_numeric_dtype

from fusion_ln.errors import RunError, in_short
from fusion_ln.progress import say
from fusion_ln.units import join_units

Kind = Literal["text", "whole", "number", "yes"]
# Kinds of columns: as a message names them, and their test.
COLUMN_KINDS: dict[Kind, tuple[str, Callable[[pd.Series], bool]]] = {
    "text": ("texts", lambda values: all(isinstance(value, str) for value in values)),
    "whole": ("whole numbers", is_integer_dtype),
    "number": ("numbers", lambda v: is_numeric_dtype(v) and not is_bool_dtype(v) and not is_complex_dtype(v)),
    "yes": ("yes or no", is_bool_dtype),
}


def wrong_column(table: pd.DataFrame, columns: Mapping[str, Kind]) -> str | None:
    """Describe the first of these columns that is missing or of another kind; None if there is none."""
    for name, kind in columns.items():
        words, test = COLUMN_KINDS[kind]
        if name not in table:
            return f"lacks the column {name!r}"
        if not test(table[name]) or (kind == "whole" and table[name].isna().any()):
            return f"its column {name!r} holds something else than {words}"
    return None


def load_table(path: Path, *, lists: Collection[str] = ()) -> pd.DataFrame:
    """Read a parquet file, nodes under their names as units; only the columns ``lists`` may hold lists.

    Raises:
        ValueError: If it is missing or damaged.
    """
    if not path.is_file():
        raise ValueError("is missing")
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # pyarrow and pandas each raise their own
        raise ValueError(f"cannot be read as a table ({in_short(error)})") from None
    if not table.columns.is_unique or not all(isinstance(name, str) for name in table.columns):
        raise ValueError("has two columns of one name, or one without a name")
    for name in table.columns.drop(list(lists), errors="ignore"):
        if (
            table[name].dtype == object
            and table[name].map(lambda value: isinstance(value, list | dict | np.ndarray)).any()
        ):
            raise ValueError(f"its column {name!r} holds lists")
    return join_units(table)


def read_stored_table(path: Path, way_out: str, columns: Mapping[str, Kind]) -> pd.DataFrame:
    """Read a table of a run or an explanation.

    Raises:
        RunError: If it is missing or damaged, or lacks one of ``columns``, or holds it in another kind.
    """
    try:
        table = load_table(path)
    except ValueError as error:
        raise RunError(f"{path}: {error}.", way_out) from None
    if wrong := wrong_column(table, columns):
        raise RunError(f"{path}: {wrong}.", way_out)
    return table


def load_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """Read the arrays of a ``.npz`` file by name; None if it is missing or damaged."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as held:
            return dict(held)
    except Exception:  # NumPy, zip files and their decompressors each raise their own
        return None


def holds_array(path: Path) -> bool:
    """Test if an array of the cache is there and whole; a damaged one is deleted, so that it is made anew."""
    if not path.is_file():
        return False
    try:
        whole = isinstance(np.load(path, mmap_mode="r", allow_pickle=False), np.ndarray)
    except Exception:  # see above
        whole = False
    if not whole:
        say(f"{path}: damaged, so it is made anew.")
        path.unlink(missing_ok=True)
    return whole
