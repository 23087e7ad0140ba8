"""Worker processes of this machine: how each of them starts."""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

import torch

PR_SET_PDEATHSIG = 1  # linux/prctl.h
SPAWN = multiprocessing.get_context("spawn")  # a forked process would inherit torch's threads as locks


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


def init_worker(parent: int, threads: int) -> None:
    """Set a worker process up: its threads, deaf to Ctrl-C, and unable to outlive its parent.

    Args:
        parent: Process number of the process that started it, which hears Ctrl-C and tells the worker to stop.
        threads: Threads of torch.
    """
    die_with_parent()
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)


def die_with_parent() -> None:
    """Have the kernel end this process with the one that started it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
