"""Lock files of folders, so that no two commands write to the same one."""

import fcntl
import multiprocessing
import os
import platform
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import get_ident

from fusion_ln.files.atomic import TEMPORARY
from fusion_ln.files.names import LONGEST_NAME
from fusion_ln.progress import say

LOCK = ".lock"  # name of the lock file of a folder
LOCK_ATTEMPTS = 100
_held: set[tuple[int, Path]] = set()  # threads of this process and the lock files that each holds


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
        if is_importing_main() and _process_of(holder) in _processes_above():
            raise SystemExit(1) from None  # the holder waits for this worker; `compute.processes` tells why it ended
        say(f"{folder}: {holder} works there; waiting until it is done.")
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        say(f"{folder}: its storage knows no locks ({error.strerror}), so start no other command there meanwhile.")


def is_importing_main() -> bool:
    """Check whether this process is a worker that runs the command's script once more, as the module it came from.

    A script that lets its workers come this far lacks a guard around what it does.
    """
    return getattr(multiprocessing.current_process(), "_inheriting", False)


def _process_of(holder: str) -> int | None:
    """Read the id of a process of this machine from the text of a lock file; None if it is none."""
    found = re.fullmatch(rf"process (\d+) on {re.escape(platform.node())}", holder)
    return int(found[1]) if found else None


def _processes_above() -> set[int]:
    """List the process that started this one, the one that started that, and so on."""
    above, process = set[int](), os.getppid()
    with suppress(OSError, ValueError, IndexError):
        while process > 1:
            above.add(process)
            status = Path(f"/proc/{process}/stat").read_text(errors="replace")
            process = int(status.rpartition(")")[2].split()[1])
    return above


def _sweep(folder: Path) -> None:
    """Remove the temporary files of dead writers: those that nobody holds."""
    for leftover in folder.rglob(f".*{TEMPORARY}"):
        with suppress(OSError), leftover.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink()
