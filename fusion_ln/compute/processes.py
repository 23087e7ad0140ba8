"""Worker processes of this machine: how each of them starts."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from multiprocessing import connection, forkserver
from threading import Thread, current_thread, main_thread

from fusion_ln.errors import RunError
from fusion_ln.files.locks import is_importing_main
from fusion_ln.forks import interrupts_held_back
from fusion_ln.threads import keep_freed_memory

# Workers are forked from a process that has imported torch and begun no thread: a fork of this one would inherit its
# threads as locks, and a fresh interpreter would take seconds to import the same again.
WORKERS = multiprocessing.get_context("forkserver")


def preload(modules: Iterable[str]) -> None:
    """Name the modules that are imported once for all workers; without effect when the first has started."""
    if is_importing_main():  # it would start workers of its own, without end
        raise SystemExit(1)
    WORKERS.set_forkserver_preload(sorted(set(modules)))


def preload_now(*modules: str) -> None:
    """Begin to import the modules of workers to come, beside what this process does until it has jobs for them."""
    if current_thread() is main_thread():  # others may not hold signals back
        preload(modules)
        with interrupts_held_back():
            forkserver.ensure_running()


def init_worker(environment: Mapping[str, str], threads: int) -> None:
    """Set a worker process up: variables and threads, deaf to Ctrl-C, and unable to outlive the command.

    SIGTERM ends it again, at the end of an epoch if it fits: see `termination_held_back`.

    Args:
        environment: Variables of the process of the command, which hears Ctrl-C and tells the worker to stop.
        threads: Threads of torch.
    """
    import torch  # only in the worker: a command calls `preload_now` before it imports torch itself

    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    torch.set_num_threads(threads)
    keep_freed_memory()
    Thread(target=_die_with_command, daemon=True).start()


def refuse_unguarded() -> None:
    """Raise RunError if no worker can start, since each would run the command's script once more; for a lost worker."""
    probe = WORKERS.Process(target=os.getpid)
    probe.start()
    probe.join()
    if probe.exitcode:
        script = getattr(sys.modules["__main__"], "__file__", None) or "the script"
        raise RunError(
            f"{script}: worker processes import it, and it would start again in each.",
            'Put what it does below `if __name__ == "__main__":`, or set `workers=1` (`DeviceSettings`).',
        )


def _die_with_command() -> None:
    """Wait for the end of the command's process, which is not the one that the kernel knows as the parent."""
    command = multiprocessing.parent_process()
    assert command is not None
    connection.wait([command.sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
