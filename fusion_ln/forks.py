"""Forks of this process, which compute on all cores with what lies in its memory; signals while processes start."""

import ctypes
import gc
import math
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from fusion_ln.progress import progress, say
from fusion_ln.threads import cores, results_in_order

T = TypeVar("T")
R = TypeVar("R")
PR_SET_PDEATHSIG = 1  # linux/prctl.h
ENDS = (signal.SIGINT, signal.SIGTERM)  # a terminal sends one to all processes of a command, a scheduler the other
FEW = 4  # items for a fork, at least: a figure takes 0.1 s, a fork 0.04 s of a process that has loaded torch
_inherited: list[Callable[[int], Any]] = []  # what a fork finds in its memory, by index of the item


def map_in_forks(title: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Yield ``function`` of every item, in order, computed by forks of this process; shows progress.

    A fork has the memory of this process as it is now: neither the function nor the items are sent, only results.
    Of its threads it has none, so a lock that one of them holds would stay locked. Forks are made where no thread of
    Python runs but the main one, and not by processes that are workers themselves, whose siblings have the other
    cores. Elsewhere, on one core and of few items, this process computes.

    Args:
        title: Title of the progress.
        function: Needs no thread of this process and no GPU. What it changes in memory is lost.
        items: Large or small, they stay where they are.
    """
    others = set(multiprocessing.active_children())
    n_done, pool = 0, _fork(function, items, others) if _pays(len(items)) else None
    if pool:
        try:
            for result in results_in_order(pool, title, _compute, range(len(items))):
                n_done += 1
                yield result
        except BrokenProcessPool:
            say(f"{title}: a process was killed, perhaps for want of memory; the rest in one process.")
        finally:
            if n_done < len(items):  # a second Ctrl-C may have ended the end of the pool
                _kill_forks(others)
    if n_done == len(items):
        return
    with progress(title, len(items) - n_done) as step:
        for item in items[n_done:]:
            result = function(item)
            step("")
            yield result


def _pays(n_items: int) -> bool:
    is_worker = multiprocessing.parent_process() is not None
    only_thread = threading.active_count() == 1 and threading.current_thread() is threading.main_thread()
    return n_items > FEW and cores() > 1 and only_thread and not is_worker


def _fork(function: Callable[[T], R], items: Sequence[T], others: Set[BaseProcess]) -> ProcessPoolExecutor | None:
    """Fork this process, which has ``others``, at most once for each core; None if the system allows no more."""
    _inherited[:] = [lambda index: function(items[index])]
    context, n_forks = multiprocessing.get_context("fork"), min(cores(), math.ceil(len(items) / FEW))
    try:
        pool = ProcessPoolExecutor(n_forks, context, initializer=_begin, initargs=(os.getpid(),))
        with interrupts_held_back(), warnings.catch_warnings():
            # From Python 3.12 on it warns of threads of libraries, which wait for work and hold no lock.
            warnings.filterwarnings("ignore", message=".*multi-threaded", category=DeprecationWarning)
            pool.submit(os.getpid)  # all start with the first
    except (OSError, RuntimeError):  # no more processes, or no more threads
        _kill_forks(others)
        return None
    finally:
        _inherited.clear()
    return pool


def _kill_forks(others: Set[BaseProcess]) -> None:
    """Kill the children of this process but for ``others``: forks hold no state, and some may wait forever."""
    for process in set(multiprocessing.active_children()) - others:
        process.kill()
        process.join()


def _begin(parent: int) -> None:
    """Begin as a fork: deaf to Ctrl-C, which its parent hears, and unable to outlive it. SIGTERM ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
    die_with_parent()
    if os.getppid() != parent:  # it ended before
        os._exit(1)
    gc.freeze()  # else the collector of garbage would look through the memory of the parent, and so copy it


def _compute(index: int) -> Any:
    return _inherited[0](index)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the body is done; processes that it starts are deaf from their first instant.

    They would else die while they load torch, and a forkserver would take the workers of a fit along before their
    states are written. For the main thread.
    """
    resource_tracker.ensure_running()  # it lets interrupts through again when it starts
    heard: list[int] = []
    # Other threads may receive them.
    handlers = {end: signal.signal(end, lambda number, _: heard.append(number)) for end in ENDS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # which new processes inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for end, handler in handlers.items():
            signal.signal(end, handler)
    for number in heard:
        signal.raise_signal(number)


def die_with_parent() -> None:
    """Have the kernel end this process with the one that started it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
