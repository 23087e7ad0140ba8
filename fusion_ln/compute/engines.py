"""Engines: where jobs run.

An engine is the module of its name in this folder, with ``validate`` and ``run``; its name stands in the choices of
`fusion_ln.settings.DeviceSettings.engine`.
"""

from importlib import import_module
from typing import Protocol, TypeVar, cast

from fusion_ln.compute.ddp import init_ranks
from fusion_ln.compute.job import Job, Step
from fusion_ln.compute.threads import threads_per_fit
from fusion_ln.progress import progress
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import FitSettings

J = TypeVar("J", bound=Job)


class Engine(Protocol):
    """A way to run jobs."""

    def validate(self, device: DeviceSettings, fit: FitSettings) -> None:
        """Raise SettingsError if the options do not go together or the devices are not there."""

    def run(self, jobs: list[J], threads: int, step: Step) -> None:
        """Compute all jobs, a step per epoch; the first error stops the others."""


def load_engine(name: str) -> Engine:
    """Import an engine by name."""
    return cast("Engine", import_module(f"fusion_ln.compute.{name}"))


def validate_compute(device: DeviceSettings, fit: FitSettings) -> None:
    """Validate device and engine options before anything is prepared.

    Raises:
        SettingsError: If the options do not go together, the machine has no such device, or no cluster answers.
    """
    load_engine(device.engine).validate(device, fit)


def join_as_worker(device: DeviceSettings) -> bool:
    """Execute the fits of rank 0 if this process is another rank of a shared fit.

    Returns:
        True once the fits are done; False, at once, in the process that runs the command.
    """
    return device.engine == "local" and not init_ranks(device)


def run_jobs(jobs: list[J], *, shares: int, title: str = "") -> None:
    """Compute all jobs on their engine; finished ones are kept if others fail.

    On a CPU each fit gets its share of the cores, whatever runs beside it. Its result so does not depend on the number
    of fits that do run at once. Small networks gain more from a second fit than from a second thread.

    Args:
        jobs: Independent fits with the same device settings.
        shares: Shares that the cores are cut into, the same for all jobs of a run.
        title: Of the progress; without one, the run, or the number of baselines.
    """
    if not jobs:
        return
    runs = sorted({job.run for job in jobs})
    title = title or (runs[0].name if len(runs) == 1 else f"{len(runs)} baselines")
    with progress(title, sum(job.epochs for job in jobs)) as step:
        load_engine(jobs[0].device.engine).run(jobs, threads_per_fit(shares), step)
