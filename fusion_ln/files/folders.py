"""Folders to write to: those that hold something else, and a new one that appears whole, or not at all."""

import fcntl
import filecmp
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fusion_ln.errors import RunError
from fusion_ln.files.atomic import TEMPORARY, cannot_write
from fusion_ln.terms import (
    AUDIT_RECORD,
    COHORT_HEAD,
    EVALUATION_RECORD,
    EXPLANATION_RECORD,
    MODEL_RECORD,
    PAGE_RECORD,
    RUN_RECORD,
    TABLE_ONE,
)

HOLDERS = {  # files that tell what a folder holds
    RUN_RECORD: "a run",
    COHORT_HEAD: "a cohort",
    MODEL_RECORD: "a model",
    PAGE_RECORD: "a report or another page of runs",
    AUDIT_RECORD: "an audit",
    EXPLANATION_RECORD: "an explanation",
    EVALUATION_RECORD: "an evaluation",
    TABLE_ONE: "a description of patients",
}


def refuse_taken(out: Path, own: str) -> None:
    """Refuse a folder that holds anything but what a command writes: files of both would be mixed, or replaced.

    Args:
        out: Folder to write to.
        own: The one of `HOLDERS` that the command itself writes, and may write again.

    Raises:
        RunError: Naming what it holds.
    """
    if held := [what for file, what in HOLDERS.items() if file != own and (out / file).is_file()]:
        raise RunError(f"{out}: holds {held[0]}.", "Choose another folder with `--out DIR`.")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Fill a new folder, which takes its place when the body ends; nothing is left of it if the body fails.

    A folder that holds the same files already stays, so that a command that was stopped after it may be given again.

    Yields:
        The folder to fill: hidden, beside ``out``.

    Raises:
        RunError: If ``out`` is a file or holds something else, or cannot be written.
    """
    if not out.name:
        raise RunError(f"{out}: not the name of a new folder.", "Name a folder that is not there yet.")
    if out.exists() and not out.is_dir():
        raise RunError(f"{out}: is a file, and a new folder was to be written.", "Name another folder.")
    made = out.with_name(f".{out.name}.{os.getpid()}{TEMPORARY}")
    held = None
    try:
        _sweep(out)
        held = _make(made)
        yield made
        if out.is_dir() and any(out.iterdir()):
            if not _hold_the_same(out, made):
                raise RunError(f"{out}: holds other files.", "Name a new folder, or remove this one first.")
            return
        with suppress(FileNotFoundError):
            out.rmdir()  # an empty one
        made.rename(out)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
        if held is not None:
            os.close(held)


def _make(folder: Path) -> int:
    """Make a folder and lock it, so that no other process takes it for a leftover; again if it was taken before."""
    while True:
        folder.mkdir(parents=True)
        with suppress(FileNotFoundError):
            held = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # storage that knows no locks
                fcntl.flock(held, fcntl.LOCK_EX)
            if folder.exists():
                return held
            os.close(held)


def _hold_the_same(one: Path, other: Path) -> bool:
    """Test if two folders hold the same files, byte by byte."""
    names = [{path.relative_to(folder) for path in folder.rglob("*")} for folder in (one, other)]
    if names[0] != names[1]:
        return False
    files = [str(name) for name in names[0] if (one / name).is_file()]
    return len(filecmp.cmpfiles(one, other, files, shallow=False)[0]) == len(files)


def _sweep(out: Path) -> None:
    """Remove the unfinished folders of dead writers: those that nobody holds."""
    for leftover in out.parent.glob(f".{glob.escape(out.name)}.*{TEMPORARY}/"):
        with suppress(OSError):
            held = os.open(leftover, os.O_RDONLY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(held)
