"""Threads of torch: of one fit, or one for each of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fusion_ln.threads import cores, one_blas_thread


def threads_per_fit(shares: int) -> int:
    """Return the threads of one fit on a CPU: one of so many shares of the cores, at least one."""
    return max(1, cores() // shares)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Compute with one thread in each thread of ours: small networks gain more from a second picture than from it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def fixed_threads(shares: int) -> Iterator[None]:
    """Compute with the threads of one fit, so that results depend on no variable, no worker and no earlier fit.

    The linear algebra of NumPy and SciPy, whose sums depend on its threads, gets one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads_per_fit(shares))
    try:
        with one_blas_thread():
            yield
    finally:
        torch.set_num_threads(before)
