"""Atomic writes, locks, hashes of content, and names of files."""

import errno
import fcntl
import hashlib
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd

from fusion_ln.errors import RunError

# A spreadsheet runs a cell that begins so; plain numbers and a sign alone are none of these.
FORMULA = re.compile(r"(?![-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?\Z)(?:\s*[=+@＝＋－＠-](?!\Z)|[\t\n])")
LONGEST_NAME = 180  # bytes, of the 255 that a file system takes: room for a prefix, a suffix and a temporary file's


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place at once.

    A reader, or a run killed at any instant, sees the old file or the new one, never a part of either.

    Raises:
        RunError: If the disk is full or the folder cannot be written to.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes it private
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` while the context is open; other processes wait for it.

    On storage that knows no locks nobody waits.

    Raises:
        RunError: If the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def cannot_write(path: Path, error: OSError) -> RunError:
    """Make the error for a file that could not be written, with the way out that fits the reason."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(f"{path}: no space left on the device.", "Free some space, then run the same command again.")
    reason = error.strerror or str(error)
    return RunError(f"{path}: cannot be written ({reason}).", "Choose another place with `--out DIR`.")


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    write_atomically(path, lambda temporary: _discard(temporary.write_text(text, encoding="utf-8")))


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically. NaN is a bug here and raises ValueError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write ``table`` without its index, atomically; the same table gives the same bytes."""
    write_atomically(path, lambda temporary: table.to_parquet(temporary, index=False))


def csv_text(table: pd.DataFrame) -> str:
    """Write ``table`` without its index as CSV for people: a text that a spreadsheet would run gets an apostrophe."""
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


def parse_toml(text: str) -> dict[str, object]:
    """Parse TOML.

    Raises:
        ValueError: If it is none, or nested too deeply.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_json(text: str) -> object:
    """Parse JSON.

    Raises:
        ValueError: If it is none, or nested too deeply.
    """
    try:
        parsed: object = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return parsed


def hash_table(table: pd.DataFrame) -> str:
    """Hash (SHA-256) the table's values and column names, in order; the same on every machine."""
    return hashlib.sha256(table.to_csv(index=False, lineterminator="\n").encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Hash (SHA-256) a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_file_name(text: str) -> str:
    """Quote what a user named (a patient, class, task or modality) as the name of a file; no two texts share a name.

    Letters of any script, digits and ``_ . + -`` stay; every other byte becomes ``~`` and two hex digits, since a page
    links to these files and a browser would decode ``%``. A long name ends in a digest instead.
    """
    quoted = re.sub(r"^\.|[^\w.+-]", _quote, text) or "~"
    if len(quoted.encode()) <= LONGEST_NAME:
        return quoted
    start = quoted.encode()[: LONGEST_NAME - 40].decode(errors="ignore")
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{start}~-{digest}"  # no quoted byte begins with a dash


def _quote(found: re.Match[str]) -> str:
    return "".join(f"~{byte:02X}" for byte in found[0].encode(errors="surrogatepass"))


def _as_no_formula(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    text = cell.replace("\r\n", "\n").replace("\r", "\n")  # pandas puts no quotes around a carriage return
    return f"'{text}" if FORMULA.match(text) else text


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _discard(_: object) -> None:
    """Drop a value, so that an expression serves as a statement."""
