"""Atomic writes: a reader sees the old file or the new one, and a full disk ends in one clear message."""

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from fusion_ln.errors import RENAME, FusionLNError, RunError, printable
from fusion_ln.terms import COHORT_HEAD, cache_folder

TEMPORARY = ".part"  # suffix of files that are being written
PROBE_BYTES = 2**20  # bytes that a disk which is not full still takes


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place at once.

    A reader, or a run killed at any instant, sees the old file or the new one, never a part of either. A device or a
    pipe, as `/dev/null` or `/dev/stdout`, takes the bytes and stays what it is.

    Raises:
        RunError: If the disk is full or the folder cannot be written to, whatever the library that writes makes of it.
    """
    temporary = None
    try:
        if _is_stream(path):
            _write_through(path, write)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = _make_temporary(path)
        with os.fdopen(handle, "wb"):
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


def _is_stream(path: Path) -> bool:
    """Test if a path is a device, a pipe or a standard stream: a file in its place would destroy it."""
    special = path.exists() and not (path.is_file() or path.is_dir())
    return special or (path.is_symlink() and path.absolute().parent == Path("/dev"))


def _write_through(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file elsewhere, and hand its bytes to a stream."""
    with tempfile.TemporaryDirectory() as folder:
        write(whole := Path(folder) / path.name)
        with whole.open("rb") as file, os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as stream:
            shutil.copyfileobj(file, stream)


def _make_temporary(path: Path) -> tuple[int, Path]:
    """Make a file beside ``path`` and lock it, so that no other process takes it for a leftover (see `locks._sweep`).

    One that was taken before it was locked is made anew.
    """
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
        with suppress(OSError):  # storage that knows no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if (temporary := Path(name)).exists():
            return handle, temporary
        os.close(handle)


def _reason(error: Exception, temporary: Path | None) -> OSError | None:
    """Find the disk's own error behind that of a library; None: a bug. torch and NumPy do not say that it is full."""
    if isinstance(error, OSError) and error.errno:
        return error
    if temporary is not None:
        try:
            with temporary.open("ab") as file:
                reserve(file, file.tell() + PROBE_BYTES)
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


def cannot_write(path: Path, error: OSError) -> RunError:
    """Make the error for a file that could not be written, with the way out that fits place and reason."""
    in_cache = path.is_relative_to(cache_folder())
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        other = ", or move the cache: set FUSIONLN_CACHE to a folder with more room" if in_cache else ""
        return RunError(
            f"{path}: no space left on the device.", f"Free some space, then run the same command again{other}."
        )
    way_out = "Choose another place, or let this account write there."
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
