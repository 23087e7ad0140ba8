"""What simulations share: jobs over processes, and the lines that say where a table of results comes from."""

import shlex
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

from threadpoolctl import threadpool_limits

from fusion_ln.progress import progress
from fusion_ln.records.origin import hardware, installed_versions

Job, Result = TypeVar("Job"), TypeVar("Result")


def run_jobs(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, title: str) -> list[Result]:
    """Run a function on every job, over ``workers`` processes of one thread each; the results in the jobs' order."""
    found = []
    with progress(title, len(jobs)) as step, ProcessPoolExecutor(workers, initializer=_one_thread) as pool:
        for result in pool.map(function, jobs):
            found.append(result)
            step("")
    return found


def describe_origin() -> str:
    """Say date, command, machine and versions."""
    machine, versions = hardware(), installed_versions()
    packages = ", ".join(f"{name} {versions[name]}" for name in ("numpy", "scipy", "pandas") if name in versions)
    return (
        f"Written {datetime.now(UTC):%Y-%m-%d} by `{shlex.join(['python', *sys.argv])}` on {machine.cores} cores "
        f"({machine.processor}), Python {versions['python']}, {packages}."
    )


def _one_thread() -> None:
    threadpool_limits(1)
