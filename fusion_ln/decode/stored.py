"""Reading of files that this package wrote: a damaged one is named with the way out, or made anew."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from fusion_ln.errors import RunError, in_short
from fusion_ln.progress import say


def load_table(path: Path) -> pd.DataFrame:
    """Read a parquet file.

    Raises:
        ValueError: If it is missing or damaged.
    """
    if not path.is_file():
        raise ValueError("is missing")
    try:
        return pd.read_parquet(path)
    except Exception as error:  # pyarrow and pandas each raise their own
        raise ValueError(f"cannot be read as a table ({in_short(error)})") from None


def read_table(path: Path, way_out: str, columns: Collection[str] = ()) -> pd.DataFrame:
    """Read a table of a run or an explanation.

    Raises:
        RunError: If it is missing or damaged, or lacks one of ``columns``.
    """
    try:
        table = load_table(path)
    except ValueError as error:
        raise RunError(f"{path}: {error}.", way_out) from None
    if missing := [column for column in columns if column not in table]:
        raise RunError(f"{path}: lacks the column {missing[0]!r}.", way_out)
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
