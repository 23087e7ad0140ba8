"""Forks of this process, which compute on all cores with what lies in its memory; signals while processes start."""

import ctypes
import gc
import math
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
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
    n_done = 0
    if _pays(len(items)):
        for result in _results_of_forks(title, function, items):
            n_done += 1
            yield result
    if n_done == len(items):
        return
    with progress(title, len(items) - n_done) as step:
        for item in items[n_done:]:
            result = function(item)
            step("")
            yield result


def _results_of_forks(title: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Yield what forks compute, in order: fewer results if a fork is killed, none if the system allows no forks."""
    forks: list[BaseProcess] = []
    with _interrupts_later(lambda: _kill(forks)) as heard:
        pool = _fork(function, items, forks)
        if pool is None:
            return
        if heard:
            _kill(forks)
        try:
            yield from results_in_order(pool, title, _compute, range(len(items)))
            return
        except BrokenProcessPool:
            pass
    say(f"{title}: a process was killed, perhaps for want of memory; the rest in one process.")


def _pays(n_items: int) -> bool:
    is_worker = multiprocessing.parent_process() is not None
    only_thread = threading.active_count() == 1 and threading.current_thread() is threading.main_thread()
    return n_items > FEW and cores() > 1 and only_thread and not is_worker


def _fork(function: Callable[[T], R], items: Sequence[T], forks: list[BaseProcess]) -> ProcessPoolExecutor | None:
    """Fork this process at most once for each core, and list the forks; None if the system allows no more."""
    others = set(multiprocessing.active_children())
    _inherited[:] = [lambda index: function(items[index])]
    context, n_forks = multiprocessing.get_context("fork"), min(cores(), math.ceil(len(items) / FEW))
    try:
        pool = ProcessPoolExecutor(n_forks, context, initializer=_begin, initargs=(os.getpid(),))
        with interrupts_held_back(), warnings.catch_warnings():
            # From Python 3.12 on it warns of threads of libraries, which wait for work and hold no lock.
            warnings.filterwarnings("ignore", message=".*multi-threaded", category=DeprecationWarning)
            pool.submit(os.getpid)  # all start with the first
    except (OSError, RuntimeError):  # no more processes, or no more threads
        pool = None
    finally:
        _inherited.clear()
        forks += set(multiprocessing.active_children()) - others
    if pool is None:
        _kill(forks)
        for fork in forks:
            fork.join()
    return pool


def _kill(forks: Sequence[BaseProcess]) -> None:
    """Kill forks: they hold no state, and some may wait forever."""
    for fork in forks:
        fork.kill()


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
    with _interrupts_later():  # other threads may receive them
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # which new processes inherit
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _interrupts_later(at_once: Callable[[], None] = lambda: None) -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM do ``at_once`` and take effect when the body is done, unless that ends in an error.

    An exception amid a pool of processes could leave one of its locks held, and the command waiting for it at its end.

    Yields:
        Numbers of the signals that came.
    """
    heard: list[int] = []

    def hear(number: int, _: object) -> None:
        heard.append(number)
        at_once()

    handlers = {end: signal.signal(end, hear) for end in ENDS}
    try:
        yield heard
    finally:
        for end, handler in handlers.items():
            signal.signal(end, handler)
    for number in heard:
        signal.raise_signal(number)


def die_with_parent() -> None:
    """Have the kernel end this process with the one that started it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
