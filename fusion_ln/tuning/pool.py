"""Worker processes of this machine that take part in studies; one that dies takes only its running trial with it."""

import os
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from fusion_ln.compute.device import accelerator_of, fits_at_once, threads_per_fit
from fusion_ln.compute.processes import SPAWN, init_worker
from fusion_ln.errors import FusionLNError, StudyError
from fusion_ln.progress import progress, say
from fusion_ln.tuning.study import StudyJob
from fusion_ln.tuning.worker import Conditions, run_worker, unfinished


def run_studies(jobs: list[StudyJob], conditions: Conditions, *, n_folds: int) -> None:
    """Run trials of the studies until the budget of each is spent, with as many workers as the device allows.

    A fit gets as many threads as in a run (see `compute.engines.run_jobs`), so that its score depends neither on the
    number of workers nor on whether it is a trial or a run. The first error stops all workers after their epoch.

    Raises:
        StudyError: See `run_worker`; also if all workers were killed.
    """
    missing = unfinished(jobs, conditions)
    if not missing:
        return
    jobs = [job for job, _ in missing]
    n_workers = fits_at_once(conditions.device, conditions.budget.trials or conditions.device.workers or len(jobs))
    if n_workers > 1 and conditions.storage.startswith("sqlite"):
        raise StudyError(
            f"{conditions.storage}: SQLite locks up under several workers.",
            "Give `--workers 1`, or another storage.",
        )
    threads = threads_per_fit(n_folds)
    with progress(jobs[0].name.partition("/")[0], sum(n for _, n in missing)) as step:
        if n_workers > 1:
            _side_by_side(jobs, conditions, n_workers, threads, step)
            return
        if accelerator_of(conditions.device) == "cpu":
            torch.set_num_threads(threads)
        run_worker(jobs, conditions, on_trial=step)


def _side_by_side(
    jobs: list[StudyJob], conditions: Conditions, n_workers: int, threads: int, step: Callable[[str], None]
) -> None:
    workers: dict[Any, Connection] = {}  # a line for each: a killed worker cannot keep a lock that others need
    for _ in range(n_workers):
        own, far = SPAWN.Pipe()
        worker = SPAWN.Process(target=_take_part, args=(far, jobs, conditions, threads, os.getpid()), daemon=True)
        worker.start()
        far.close()
        workers[worker] = own
    failure: FusionLNError | None = None
    try:
        failure = _listen(workers, step)
    finally:  # after an error or Ctrl-C; without effect when all is done
        for line in workers.values():
            line.close()  # what the workers take for a sign to stop
        for worker in workers:
            worker.join()
    if failure:
        raise failure
    died = [worker for worker in workers if worker.exitcode]
    if any(worker.exitcode > 0 for worker in died):
        raise RuntimeError("A worker failed: see above.")  # a bug: its traceback was printed by the worker
    if len(died) == n_workers:
        raise StudyError(
            f"all {n_workers} workers were killed (signal {-died[0].exitcode}).",
            "If memory ran out, give fewer `--workers`. The same command goes on: finished trials are kept.",
        )


def _listen(workers: dict[Any, Connection], step: Callable[[str], None]) -> FusionLNError | None:
    """Pass on what the workers say until all have ended or one has failed, whose error is returned."""
    speaking = {line: worker for worker, line in workers.items()}
    while speaking:
        for line in wait(list(speaking)):
            assert isinstance(line, Connection)
            try:
                said = line.recv()
            except (EOFError, OSError):
                worker = speaking.pop(line)
                worker.join()
                if worker.exitcode < 0:
                    say(f"A worker was killed (signal {-worker.exitcode}); the others try its trial again.")
                continue
            if isinstance(said, FusionLNError):
                return said
            step(said)
    return None


def _take_part(line: Connection, jobs: list[StudyJob], conditions: Conditions, threads: int, parent: int) -> None:
    init_worker(parent, threads)  # the parent hears Ctrl-C and closes the line

    def check_stop() -> None:
        if line.poll():
            raise KeyboardInterrupt

    try:
        run_worker(jobs, conditions, on_trial=line.send, check_stop=check_stop)
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    except FusionLNError as error:
        line.send(error)
