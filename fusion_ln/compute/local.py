"""Engine of this machine: jobs one after another, or several at once in worker processes."""

import os
import queue
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import TypeVar

import torch

from fusion_ln.compute.ddp import run_on_all_ranks
from fusion_ln.compute.device import accelerator_of, check_batch, check_device, fits_at_once
from fusion_ln.compute.job import Job, Step
from fusion_ln.compute.processes import WORKERS, init_worker, preload, refuse_unguarded
from fusion_ln.errors import RunError, SettingsError
from fusion_ln.forks import interrupts_held_back
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import FitSettings
from fusion_ln.threads import keep_freed_memory

POLL_SECONDS = 0.2
J = TypeVar("J", bound=Job)


def validate(device: DeviceSettings, fit: FitSettings) -> None:
    """Refuse options that do not go together, a batch that the devices cannot share, and a missing device."""
    if device.address is not None:
        raise SettingsError("--address: is that of a Ray cluster.", "Give `--engine ray` too, or leave it out.")
    check_batch(device, fit.batch_size)
    check_device(device)


def run(jobs: list[J], threads: int, step: Step) -> None:
    """Compute all jobs. The first error stops the others at their next epoch."""
    device = jobs[0].device
    memory = max(job.memory for job in jobs) if accelerator_of(device) == "cuda" else 0
    at_once = fits_at_once(device, len(jobs), memory)
    if at_once == 1:
        _run_in_turn(jobs, threads, step)
    else:
        _run_in_processes(jobs, at_once, threads, step)


def _run_in_turn(jobs: list[J], threads: int, step: Step) -> None:
    if accelerator_of(jobs[0].device) == "cpu" and jobs[0].device.processes == 1:
        torch.set_num_threads(threads)
        keep_freed_memory()
    for job in jobs:
        _execute(job, step)


def _execute(job: Job, step: Step) -> None:
    """Compute one job, with a step per epoch, also for those that early stopping saves."""
    finished = 0

    def on_epoch(epoch: int, note: str) -> None:
        nonlocal finished
        finished += 1
        step(f"{job}: {note}")

    with run_on_all_ranks(job.device, job.files, partial(_execute_as_other_rank, job)):
        job.execute(on_epoch)
    for _ in range(job.epochs - finished):
        step(f"{job}: stopped early")


def _execute_as_other_rank(job: Job) -> None:
    """Compute a job on a rank other than 0, which reports no progress."""
    job.execute(lambda epoch, note: None)


def _run_in_processes(jobs: list[J], at_once: int, threads: int, step: Step) -> None:
    preload(type(job).__module__ for job in jobs)
    notes: Queue[str] = WORKERS.Queue()
    stop = WORKERS.Event()
    arguments = (notes, stop, threads, dict(os.environ))
    with ProcessPoolExecutor(at_once, mp_context=WORKERS, initializer=_init_pool_worker, initargs=arguments) as pool:
        futures: list[Future[None]] = []
        try:
            with interrupts_held_back():
                futures += [pool.submit(_execute_in_worker, job) for job in jobs]
            while not all(future.done() for future in futures):
                wait(futures, timeout=POLL_SECONDS, return_when=FIRST_EXCEPTION)
                _forward(notes, step)
                for future in futures:
                    if future.done():
                        future.result()
            _forward(notes, step)
        except BrokenProcessPool:
            refuse_unguarded()
            raise RunError(
                "a worker process was killed before its fit was done.",
                "If memory ran out, give fewer `--workers`. The same command goes on: what is finished is kept.",
            ) from None
        finally:  # after an error or Ctrl-C; without effect when all is done
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _forward(notes: "Queue[str]", step: Step) -> None:
    while True:
        try:
            step(notes.get_nowait())
        except queue.Empty:
            return


class _StoppedError(KeyboardInterrupt):
    """Another fit failed, or the user interrupted: a fit writes its state and ends."""


def _init_pool_worker(notes: "Queue[str]", stop: Event, threads: int, environment: Mapping[str, str]) -> None:
    """Set up a worker process, whose notes go into a queue."""
    init_worker(environment, threads)

    def step(note: str) -> None:
        notes.put(note)
        if stop.is_set():
            raise _StoppedError

    _worker_step.append(step)


_worker_step: list[Step] = []  # of a worker process, set once when it starts


def _execute_in_worker(job: Job) -> None:
    _execute(job, _worker_step[0])
