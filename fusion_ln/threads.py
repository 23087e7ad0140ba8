"""A function on many files at once: decoding and hashing release the interpreter lock, so threads suffice."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from fusion_ln.progress import progress

T = TypeVar("T")
R = TypeVar("R")


def map_with_progress(title: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Yield ``function`` of every item, in order; shows progress, and Ctrl-C cancels the rest."""
    n_threads = len(os.sched_getaffinity(0))
    pool = ThreadPoolExecutor(n_threads)
    running: deque[Future[R]] = deque()  # a few ahead: results of 100,000 pictures must not pile up
    left = iter(items)
    try:
        with progress(title, len(items)) as step:
            for _ in items:
                running += (pool.submit(function, item) for item in islice(left, 4 * n_threads - len(running)))
                result = running.popleft().result()
                step("")
                yield result
    finally:
        pool.shutdown(cancel_futures=True)
