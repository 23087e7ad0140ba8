"""Atomic writes, locks, hashes of content, and names of files."""

import errno
import fcntl
import hashlib
import json
import math
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import get_ident
from typing import IO, TypeVar

import numpy as np
import pandas as pd

from fusion_ln.errors import RENAME, FusionLNError, RunError, printable
from fusion_ln.progress import say
from fusion_ln.terms import COHORT_HEAD, cache_folder

T = TypeVar("T")

# A spreadsheet runs a cell that begins so; plain numbers and a sign alone are none of these.
FORMULA = re.compile(r"(?![-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?\Z)\s*(?:[=+@＝＋－＠-](?!\Z)|[\t\n])")
LOCK = ".lock"  # name of the lock file of a folder
TEMPORARY = ".part"  # suffix of files that are being written
PROBE = 2**20  # bytes that a disk which is not full still takes
LOCK_ATTEMPTS = 100
_held: set[tuple[int, Path]] = set()  # threads of this process and the lock files that each holds
LONGEST_NAME = 180  # bytes, of the 255 that a file system takes: room for a prefix, a suffix and a temporary file's


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place at once.

    A reader, or a run killed at any instant, sees the old file or the new one, never a part of either.

    Raises:
        RunError: If the disk is full or the folder cannot be written to, whatever the library that writes makes of it.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as held:
            with suppress(OSError):
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # see `_sweep`
            write(temporary)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o666 & ~_umask())  # mkstemp makes it private
            temporary.replace(path)
    except FusionLNError:
        raise
    except UnicodeEncodeError as error:
        kept = re.findall(r"[^\"\n]*", error.object[: error.end])[-2]
        raise RunError(
            f"{path}: cannot be written; it would hold the name {printable(kept)}, which is not UTF-8 text.", RENAME
        ) from None
    except Exception as error:
        if (reason := _reason(error, temporary)) is None:
            raise
        raise cannot_write(path, reason) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _reason(error: Exception, temporary: Path | None) -> OSError | None:
    """Find the disk's own error behind that of a library; None: a bug. torch and NumPy do not say that it is full."""
    if isinstance(error, OSError) and error.errno:
        return error
    if temporary is not None:
        try:
            with temporary.open("ab") as file:
                reserve(file, file.tell() + PROBE)
        except OSError as refusal:
            return refusal
    return error if isinstance(error, OSError) else None


def reserve(file: IO[bytes], size: int) -> None:
    """Make a file ``size`` bytes long and take the room for it now; without effect on storage that cannot.

    Raises:
        OSError: If there is no room.
    """
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV):
            raise


@contextmanager
def locked(*paths: Path) -> Iterator[None]:
    """Hold lock files while the context is open; another process waits for each, and says for whom.

    What this thread holds already it does not wait for. The system frees the locks of a process that dies, and on
    storage that knows no locks nobody waits. What dead writers left unfinished in the folder of a lock is removed, and
    so is the folder if nothing was written to it.
    """
    with ExitStack() as stack:
        for path in sorted({path.absolute() for path in paths}):  # so that no two wait for each other
            if (get_ident(), path) not in _held:
                stack.enter_context(_locked(path))
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    made = [folder for folder in path.parents if not folder.exists()]
    handle = _lock(path)
    try:
        _held.add((get_ident(), path))
        _sweep(path.parent)
        yield
    finally:
        _held.discard((get_ident(), path))
        with suppress(OSError):
            if handle is not None:
                path.unlink()
                os.close(handle)
            for folder in made:
                folder.rmdir()


def _lock(path: Path) -> int | None:
    """Open and lock a file; None where it cannot be made: the first file that is written there tells why."""
    for _ in range(LOCK_ATTEMPTS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # whoever had made the folder has just removed it
            continue
        except OSError:
            return None
        try:
            _wait_for(handle, path.parent)
            if os.path.samestat(os.fstat(handle), path.stat()):
                os.truncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {platform.node()}".encode())
                return handle
        except FileNotFoundError:  # its last holder has removed it
            pass
        except OSError:  # a full disk
            return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    return None


def _wait_for(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, LONGEST_NAME).decode(errors="replace") or "another process"
        say(f"{folder}: {holder} works there; waiting until it is done.")
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        say(f"{folder}: its storage knows no locks ({error.strerror}), so start no other command there meanwhile.")


def _sweep(folder: Path) -> None:
    """Remove the temporary files of dead writers: those that nobody holds."""
    for leftover in folder.rglob(f".*{TEMPORARY}"):
        with suppress(OSError), leftover.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink()


def cannot_write(path: Path, error: OSError) -> RunError:
    """Make the error for a file that could not be written, with the way out that fits place and reason."""
    in_cache = path.is_relative_to(cache_folder())
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        other = ", or move the cache: set FUSIONLN_CACHE to a folder with more room" if in_cache else ""
        return RunError(
            f"{path}: no space left on the device.", f"Free some space, then run the same command again{other}."
        )
    way_out = "Choose another place (`--out DIR`), or let this account write there."
    if in_cache:
        way_out = "It lies in the cache: set FUSIONLN_CACHE to a folder that you may write to."
    elif (path.parent / COHORT_HEAD).is_file():  # commands on a cohort write into it
        way_out = f"Let this account write there, or work on a copy: `cp -r '{path.parent}' DIR`."
    reason = os.strerror(error.errno) if error.errno else error
    return RunError(f"{path}: cannot be written ({reason}).", way_out)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file in one go, not atomically: for the many files of a folder that one last file declares finished.

    Raises:
        RunError: If the disk is full or the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise cannot_write(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


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
