"""Engine of a Ray cluster: one task per job; the job of a lost node resumes on another."""

import logging
import os
import platform
import socket
from collections.abc import Sequence
from typing import Any, TypeVar

import torch

from fusion_ln.compute.environment import Environment
from fusion_ln.compute.job import Job, Step
from fusion_ln.errors import FusionLNError, RunError, SettingsError, in_short, pip_install
from fusion_ln.progress import say
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import FitSettings

FIT_RETRIES = 5  # further attempts of a fit whose node or process is lost; each resumes from the last state written
POLL_SECONDS = 0.2
REACH_SECONDS = 5.0
STARTED = -1  # number of the note that a fit sends when it starts

J = TypeVar("J", bound=Job)


def validate(device: DeviceSettings, fit: FitSettings) -> None:
    """Refuse shared fits, and join the cluster."""
    if device.processes > 1:
        raise SettingsError(
            "--engine ray: gives each fit one device, so it does not go with --devices or --nodes.",
            "Leave them out, or share fits among devices with torchrun (`--nodes`) and no --engine.",
        )
    connect(device.address)


def connect(address: str | None) -> Any:
    """Join the Ray cluster at ``address`` (None: the one that this machine belongs to); returns the ``ray`` module.

    Raises:
        SettingsError: If Ray is not installed, or no cluster answers there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise SettingsError(
            "--engine ray: Ray is not installed.", f"Install it ({pip_install('ray')}), or leave out --engine."
        ) from None
    if ray.is_initialized():
        return ray
    try:
        _check_reachable(address)
        ray.init(address=address or "auto", log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError, SystemExit) as error:  # Ray leaves by sys.exit if nobody answers
        raise SettingsError(
            f"--engine ray: no Ray cluster can be joined at {address or 'this machine'} ({in_short(error)}).",
            "Start one with `ray start --head`, on other machines `ray start --address HEAD:6379`, and give that "
            "`--address`.",
        ) from None
    return ray


def _check_reachable(address: str | None) -> None:
    """Connect to the port once, since Ray itself tries for five minutes."""
    if address is None or address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("expected HOST:PORT")
    socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()


def run(jobs: list[J], threads: int, step: Step) -> None:
    """Compute all jobs; the first error stops the others, and so does Ctrl-C.

    Args:
        jobs: Fits, none of which needs another.
        threads: Threads of each fit, and so the cores that it asks for; at most those of the largest node.
        step: Called for every epoch.

    Raises:
        SettingsError: If no cluster can be joined, or it has no room for a fit.
        RunError: If a node does not see the folders, or a fit was lost too often.
        DivergedError, ...: As the jobs raise them.
    """
    settings = jobs[0].device
    ray = connect(settings.address)
    device, needs = _resources_of_fit(ray, settings, threads)
    notes = _notes(ray)
    fit = ray.remote(**needs, max_retries=FIT_RETRIES, retry_exceptions=False)(_fit)
    left, counter = list(enumerate(jobs)), _EpochCounter(jobs, step)
    running: dict[Any, Job] = {}
    try:
        while left or running:
            while left and len(running) < (settings.workers or len(jobs)):
                number, job = left.pop(0)
                environment = Environment.capture(job.files)
                running[fit.remote(number, job.on(device), environment, needs["num_cpus"], notes)] = job
            done, _ = ray.wait(list(running), timeout=POLL_SECONDS)
            counter.count(notes.get_nowait_batch(notes.qsize()))
            for reference in done:
                _outcome(ray, reference, running.pop(reference))
        counter.count(notes.get_nowait_batch(notes.qsize()))
        counter.finish()
    finally:  # after an error or Ctrl-C; without effect when all is done
        for reference in running:
            ray.cancel(reference)
        notes.shutdown(force=True)


def _resources_of_fit(ray: Any, settings: DeviceSettings, threads: int) -> tuple[DeviceSettings, dict[str, int]]:
    """Choose the device of a fit on a node, and the cores and GPUs that it takes of one."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = (int(max((node.get(kind, 0) for node in alive), default=0)) for kind in ("CPU", "GPU"))
    on_gpu = settings.device == "cuda" or (settings.device == "auto" and gpus > 0)
    if cpus < 1 or (on_gpu and gpus < 1):
        raise SettingsError(
            f"--engine ray: no node of the cluster offers a {'GPU' if cpus else 'core'}.",
            "Start nodes with `ray start --num-gpus N`, or give `--device cpu`."
            if cpus
            else "Start a node with cores.",
        )
    cores = min(threads, cpus)
    return DeviceSettings(device="cuda" if on_gpu else "cpu"), {"num_cpus": cores, "num_gpus": int(on_gpu)}


def _notes(ray: Any) -> Any:
    """Open a queue on the command's own machine, which is lost only with the command."""
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    own = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return Queue(actor_options={"num_cpus": 0, "scheduling_strategy": own})


def _fit(number: int, job: Job, environment: Environment, threads: int, notes: Any) -> FusionLNError | None:
    """Compute a job as a task; a user's error is a result, so that Ray neither retries nor wraps it."""

    def send_note(epoch: int, text: str) -> None:
        notes.actor.put_nowait.remote((number, epoch, text))  # not waited for

    try:
        send_note(STARTED, platform.node())
        environment.apply()
        torch.set_num_threads(threads)
        job.execute(send_note)
    except FusionLNError as error:
        return error
    return None


class _EpochCounter:
    """Steps from the notes of fits; an epoch that is reported again after a loss counts once."""

    def __init__(self, jobs: Sequence[Job], step: Step) -> None:
        self.jobs = jobs
        self.step = step
        self.epochs = [0] * len(jobs)
        self.starts = [0] * len(jobs)

    def count(self, notes: list[tuple[int, int, str]]) -> None:
        for number, epoch, text in notes:
            if epoch == STARTED:
                self.starts[number] += 1
                if self.starts[number] > 1:
                    say(f"{self.jobs[number]}: its node or process was lost; goes on on {text}.")
            elif epoch >= self.epochs[number]:
                self.epochs[number] = epoch + 1
                self.step(f"{self.jobs[number]}: {text}")

    def finish(self) -> None:
        """Step over the epochs that early stopping saved, or whose note was lost."""
        for job, done in zip(self.jobs, self.epochs, strict=True):
            for _ in range(job.epochs - done):
                self.step(f"{job}: stopped early")


def _outcome(ray: Any, reference: Any, job: Job) -> None:
    """Raise what ended a fit, if it did not end well."""
    try:
        error = ray.get(reference)
    except ray.exceptions.RayTaskError as failed:
        if "failed to import on the worker" in str(failed):
            raise RunError(
                "A node of the Ray cluster cannot load fusion_ln.",
                "Install the same version of it on every node, for the Python that Ray runs there.",
            ) from None
        raise  # a bug, with its traceback
    except ray.exceptions.RayError as lost:
        raise RunError(
            f"{job}: its node or process was lost {FIT_RETRIES + 1} times ({in_short(lost)}).",
            "Look at the nodes' memory and at Ray's logs; the same command goes on from the last state written.",
        ) from None
    if error is not None:
        raise error
