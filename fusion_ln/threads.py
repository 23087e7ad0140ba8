"""Cores and threads of this process, a function on many files at once, linear algebra, and freed memory."""

import ctypes
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TypeVar

from threadpoolctl import ThreadpoolController

from fusion_ln.progress import progress

T = TypeVar("T")
R = TypeVar("R")
# Files of a control group below its mount, by version: quota and period in microseconds, in one file or in two.
QUOTA_FILES = {2: ("cpu.max",), 1: ("cpu.cfs_quota_us", "cpu.cfs_period_us")}
UNLIMITED = ("max", "-1")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 2**30  # bytes


def cores(root: Path = Path("/")) -> int:
    """Count the cores that this process may use: those it may run on, or fewer by the quota of its container.

    Args:
        root: Folder in which ``proc`` and ``sys`` are.
    """
    quotas = [quota for folder, version in _control_groups(root) if (quota := _read_quota(folder, version))]
    return max(1, int(min([len(os.sched_getaffinity(0)), *quotas])))


def _control_groups(root: Path) -> Iterator[tuple[Path, int]]:
    """List the folders of this process's control group, and of those around it, that may limit its time on cores."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            # In a container the path may be that of its host: then the mount itself is the group.
            mount = root / "sys/fs/cgroup" / controllers
            group = mount / path.strip("/")
            for folder in (group, *group.parents):
                yield folder, 1 if controllers else 2
                if folder == mount:
                    break


def _read_quota(folder: Path, version: int) -> float | None:
    """Read how many cores' time a control group gets; None: no limit, or not a group of this machine."""
    with suppress(OSError, ValueError):
        quota, period = " ".join((folder / name).read_text() for name in QUOTA_FILES[version]).split()
        return None if quota in UNLIMITED else int(quota) / int(period)
    return None


def map_with_progress(title: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Yield ``function`` of every item, in order; shows progress, and Ctrl-C cancels the rest."""
    pool = ThreadPoolExecutor(cores())
    running: deque[Future[R]] = deque()  # a few ahead: results of 100,000 pictures must not pile up
    left, ahead = iter(items), 4 * cores()
    try:
        with progress(title, len(items)) as step:
            for _ in items:
                running += (pool.submit(function, item) for item in islice(left, ahead - len(running)))
                result = running.popleft().result()
                step("")
                yield result
    finally:
        pool.shutdown(cancel_futures=True)


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, for the next batch asks for the same again; without effect where it cannot.

    By default it hands large arrays back after each step, and the kernel clears every page of them anew: a tenth of
    the time of a small network's fit, or of a simulated picture.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Compute the linear algebra of NumPy and SciPy with one thread: on small matrices the others only wait."""
    with _linear_algebra().limit(limits=1, user_api="blas"):
        yield


@cache
def _linear_algebra() -> ThreadpoolController:
    """Find the libraries that are loaded; SciPy brings one of its own, which its optimisers take."""
    import scipy.linalg  # noqa: F401

    return ThreadpoolController()
