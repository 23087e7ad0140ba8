"""Worker processes of this machine: how each of them starts."""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import connection, resource_tracker
from threading import Thread

import torch

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Workers are forked from a process that has imported torch and begun no thread: a fork of this one would inherit its
# threads as locks, and a fresh interpreter would take seconds to import the same again.
WORKERS = multiprocessing.get_context("forkserver")


def preload(modules: Iterable[str]) -> None:
    """Name the modules that are imported once for all workers; without effect when the first has started."""
    WORKERS.set_forkserver_preload(sorted(set(modules)))


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C back until the body is done; processes that it starts are deaf to it from their first instant.

    They would else die of it while they load torch, each with a traceback. For the main thread.
    """
    resource_tracker.ensure_running()  # it lets interrupts through again when it starts
    heard: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))  # other threads may receive it
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which new processes inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if heard:
        raise KeyboardInterrupt


def init_worker(environment: Mapping[str, str], threads: int) -> None:
    """Set a worker process up: variables and threads, deaf to Ctrl-C, and unable to outlive the command.

    Args:
        environment: Variables of the process of the command, which hears Ctrl-C and tells the worker to stop.
        threads: Threads of torch.
    """
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    Thread(target=_die_with_command, daemon=True).start()


def _die_with_command() -> None:
    """Wait for the end of the command's process, which is not the one that the kernel knows as the parent."""
    command = multiprocessing.parent_process()
    assert command is not None
    connection.wait([command.sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_parent() -> None:
    """Have the kernel end this process with the one that started it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
