"""Jobs of a simulation over processes."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

from fusion_ln.progress import progress

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, title: str) -> list[Result]:
    """Run a function on every job, over ``workers`` processes of one thread each; the results in the jobs' order."""
    found = []
    with progress(title, len(jobs)) as step, ProcessPoolExecutor(workers, initializer=_one_thread) as pool:
        for result in pool.map(function, jobs):
            found.append(result)
            step("")
    return found


def _one_thread() -> None:
    threadpool_limits(1)
