"""Where fits run: one after another here, side by side in processes of this machine, or on a Ray cluster."""

import multiprocessing
import os
import queue
import signal
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from functools import partial
from typing import Any

import torch

from fusion_ln.compute.ddp import die_with_parent, init_ranks, run_on_all_ranks
from fusion_ln.compute.device import accelerator_of, fits_at_once, make_fabric, threads_per_fit
from fusion_ln.compute.ray import connect, describe, run_on_cluster
from fusion_ln.errors import SettingsError
from fusion_ln.progress import progress
from fusion_ln.settings import DeviceSettings, FitSettings
from fusion_ln.training.crossval import FoldJob, run_fold
from fusion_ln.training.fit import Epoch

POLL_SECONDS = 0.2


def ready(device: DeviceSettings, fit: FitSettings) -> bool:
    """Find out what is wrong with where fits shall run, before anything is prepared.

    Returns:
        False in a process that helped another with its fits and has nothing left to do.

    Raises:
        SettingsError: If the options do not go together, the machine has no such device, or no cluster answers.
    """
    if device.engine == "local":
        if device.address is not None:
            raise SettingsError("--address: is that of a Ray cluster.", "Give `--engine ray` too, or leave it out.")
        device.check_batch(fit.batch_size)
        make_fabric(device.one_device, fit.precision)
        return init_ranks(device)
    if device.processes > 1:
        raise SettingsError(
            "--engine ray: gives each fit one device, so it does not go with --devices or --nodes.",
            "Leave them out, or share fits among devices with torchrun (`--nodes`) and no --engine.",
        )
    connect(device.address)
    return True


def run_jobs(jobs: list[FoldJob], *, n_folds: int) -> None:
    """Do all fits. The first error stops the others at their next epoch; what is finished is kept.

    On a CPU a fit gets its share of the cores as if one run's folds stood side by side, so that its result does
    not depend on how many fits really do: small networks gain more from a second fit than from a second thread.

    Args:
        jobs: Fits, none of which needs another.
        n_folds: Folds of a run.
    """
    if not jobs:
        return
    device = jobs[0].device
    at_once = fits_at_once(device, len(jobs))
    threads = threads_per_fit(n_folds)
    runs = sorted({job.run.root for job in jobs})
    total = sum(job.settings.fit.epochs for job in jobs)
    with progress(runs[0].name if len(runs) == 1 else f"{len(runs)} baselines", total) as step:
        if device.engine == "ray":
            run_on_cluster(jobs, threads, step)
        elif at_once == 1:
            _one_after_another(jobs, threads, step)
        else:
            _side_by_side(jobs, at_once, threads, step)


def _one_after_another(jobs: list[FoldJob], threads: int, step: Callable[[str], None]) -> None:
    if accelerator_of(jobs[0].device) == "cpu" and jobs[0].device.processes == 1:
        torch.set_num_threads(threads)
    for job in jobs:
        _do(job, step)


def _do(job: FoldJob, step: Callable[[str], None]) -> None:
    """One fit, with a step per epoch, also for those that early stopping saves."""
    seen = 0

    def on_epoch(epoch: Epoch) -> None:
        nonlocal seen
        seen += 1
        step(f"{job}: {describe(epoch)}")

    with run_on_all_ranks(job.device, [job.cohort / "cohort.toml", job.run.record], partial(_take_part, job)):
        run_fold(job, make_fabric(job.device, job.settings.fit.precision), on_epoch)
    for _ in range(job.settings.fit.epochs - seen):
        step(f"{job}: stopped early")


def _take_part(job: FoldJob) -> None:
    """The part of a process that shares the fit with the first."""
    run_fold(job, make_fabric(job.device, job.settings.fit.precision), lambda epoch: None)


def _side_by_side(jobs: list[FoldJob], at_once: int, threads: int, step: Callable[[str], None]) -> None:
    context = multiprocessing.get_context("spawn")  # a forked process would inherit torch's threads as locks
    notes, stop = context.Queue(), context.Event()
    arguments = (notes, stop, threads, os.getpid())
    with ProcessPoolExecutor(at_once, mp_context=context, initializer=_start_worker, initargs=arguments) as pool:
        futures: list[Future[None]] = [pool.submit(_work, job) for job in jobs]
        try:
            while not all(future.done() for future in futures):
                wait(futures, timeout=POLL_SECONDS, return_when=FIRST_EXCEPTION)
                _pass_on(notes, step)
                for future in futures:
                    if future.done():
                        future.result()
            _pass_on(notes, step)
        finally:  # after an error or Ctrl-C; without effect when all is done
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _pass_on(notes: Any, step: Callable[[str], None]) -> None:
    while True:
        try:
            step(notes.get_nowait())
        except queue.Empty:
            return


class _StoppedError(Exception):
    """Another fit failed, or the user interrupted."""


def _start_worker(notes: Any, stop: Any, threads: int, parent: int) -> None:
    """Set a worker process up: its threads, the way back for notes, and that it never outlives its parent."""
    die_with_parent()
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and sets `stop`
    torch.set_num_threads(threads)

    def step(note: str) -> None:
        notes.put(note)
        if stop.is_set():
            raise _StoppedError

    _worker_step.append(step)


_worker_step: list[Callable[[str], None]] = []  # of a worker process, set once when it starts


def _work(job: FoldJob) -> None:
    _do(job, _worker_step[0])
