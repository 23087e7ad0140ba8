"""Forks of this process, which compute on all cores with what lies in its memory; signals while processes start."""

import ctypes
import gc
import math
import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from fusion_ln.progress import progress, say
from fusion_ln.threads import cores

T = TypeVar("T")
R = TypeVar("R")
PR_SET_PDEATHSIG = 1  # linux/prctl.h
ENDS = (signal.SIGINT, signal.SIGTERM)  # a terminal sends one to all processes of a command, a scheduler the other
FEW = 4  # items for a fork, at least: a figure takes 0.1 s, a fork 0.04 s of a process that has loaded torch
AHEAD = 2  # items that a fork has at once: it computes the next one while this process is busy
AHEAD_OF_ALL = 4  # items, by fork, beyond the one that is due: results must not pile up behind a slow one


def map_in_forks(title: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Yield ``function`` of every item, in order, computed by forks of this process; shows progress.

    A fork has the memory of this process as it is now: neither the function nor the items are sent, only results.
    Of its threads it has none, so a lock that one of them holds would stay locked. Forks are made where no thread of
    Python runs but the main one, and not by processes that are workers themselves, whose siblings have the other
    cores. Elsewhere, on one core and of few items, this process computes.

    Args:
        title: Title of the progress.
        function: Needs no thread of this process and no GPU. What it changes in memory is lost. An interrupt kills it
            at any point.
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
    forks: dict[Connection, BaseProcess] = {}  # a connection for each: a killed one can keep no lock of others
    left, found = deque(range(len(items))), dict[int, tuple[Any, BaseException | None]]()
    try:
        if not _start(forks, function, items):
            return
        has = dict.fromkeys(forks, 0)
        with progress(title, len(items)) as step:
            for index in range(len(items)):
                try:
                    while index not in found:
                        _give(has, left, index + AHEAD_OF_ALL * len(has))
                        found |= _receive(has)
                except (EOFError, OSError):
                    say(f"{title}: a process was killed, perhaps for want of memory; the rest in one process.")
                    return
                result, error = found.pop(index)
                if error is not None:
                    raise error
                step("")
                yield result
    finally:
        _end(forks)


def _pays(n_items: int) -> bool:
    is_worker = multiprocessing.parent_process() is not None
    only_thread = threading.active_count() == 1 and threading.current_thread() is threading.main_thread()
    return n_items > FEW and cores() > 1 and only_thread and not is_worker


def _start(forks: dict[Connection, BaseProcess], function: Callable[[T], object], items: Sequence[T]) -> bool:
    """Fork this process, at most once for each core; False if the system allows less."""
    context = multiprocessing.get_context("fork")
    try:
        with interrupts_held_back(), warnings.catch_warnings():
            # From Python 3.12 on it warns of threads of libraries, which wait for work and hold no lock.
            warnings.filterwarnings("ignore", message=".*multi-threaded", category=DeprecationWarning)
            for _ in range(min(cores(), math.ceil(len(items) / FEW))):
                own_end, end_of_fork = context.Pipe()
                fork = context.Process(target=_compute, args=(end_of_fork, function, items, os.getpid()), daemon=True)
                fork.start()
                end_of_fork.close()
                forks[own_end] = fork
    except OSError:
        return False
    return True


def _give(has: dict[Connection, int], left: deque[int], end: int) -> None:
    """Give out items below ``end`` until each fork has `AHEAD`; ``has`` counts them.

    Raises:
        OSError: If a fork ended.
    """
    for connection, number in has.items():
        given = [left.popleft() for _ in range(AHEAD - number) if left and left[0] < end]
        for index in given:
            connection.send(index)
        has[connection] = number + len(given)


def _receive(has: dict[Connection, int]) -> dict[int, tuple[Any, BaseException | None]]:
    """Wait for results or errors, by index.

    Raises:
        EOFError, OSError: If a fork ended.
    """
    found = {}
    for connection in wait(list(has)):
        assert isinstance(connection, Connection)
        index, *outcome = connection.recv()
        found[index] = tuple(outcome)
        has[connection] -= 1
    return found


def _end(forks: dict[Connection, BaseProcess]) -> None:
    """Kill the forks, which hold no state; an interrupt waits until they are gone."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        for fork in forks.values():
            fork.kill()
        for connection, fork in forks.items():
            fork.join()
            fork.close()
            connection.close()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _compute(connection: Connection, function: Callable[[T], object], items: Sequence[T], parent: int) -> None:
    """Be a fork: compute the items whose indices come, until it is killed."""
    _begin(parent)
    while True:
        index = connection.recv()
        try:
            connection.send((index, function(items[index]), None))
        except Exception as error:
            connection.send((index, None, ExceptionWithTraceback(error, error.__traceback__)))


def _begin(parent: int) -> None:
    """Begin as a fork: deaf to Ctrl-C, which its parent hears, and unable to outlive it. SIGTERM ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
    die_with_parent()
    if os.getppid() != parent:  # it ended before
        os._exit(1)
    gc.freeze()  # else the collector of garbage would look through the memory of the parent, and so copy it


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
        for number in heard:  # after an error, too
            signal.raise_signal(number)


def die_with_parent() -> None:
    """Have the kernel end this process with the one that started it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
