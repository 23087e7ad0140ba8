"""One function on many files at once: decoding and hashing let go of the interpreter, so threads suffice."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fusion_ln.progress import progress

T = TypeVar("T")
R = TypeVar("R")


def map_with_progress(title: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Results of ``function``, in the order of ``items``; progress is shown, and Ctrl-C leaves the rest undone."""
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        with progress(title, len(items)) as step:
            for result in pool.map(function, items):
                step("")
                yield result
    finally:
        pool.shutdown(cancel_futures=True)
