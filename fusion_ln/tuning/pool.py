"""Worker processes of this machine for studies; one that dies loses only its running trial."""

import os
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from fusion_ln.compute.device import accelerator_of, fits_at_once
from fusion_ln.compute.processes import WORKERS, init_worker, preload, refuse_unguarded
from fusion_ln.compute.threads import threads_per_fit
from fusion_ln.errors import FusionLNError, StudyError
from fusion_ln.forks import interrupts_held_back
from fusion_ln.progress import progress, say
from fusion_ln.tuning.study import StudyJob
from fusion_ln.tuning.worker import Conditions, run_worker, unfinished_studies


def run_studies(jobs: list[StudyJob], conditions: Conditions, *, n_folds: int) -> None:
    """Run trials of the studies until the budget of each is spent, with as many workers as the device allows.

    A fit gets the number of threads that it has in a run (see `compute.engines.run_jobs`), so its score does not depend
    on the number of workers. The first error stops all workers after their epoch.

    Raises:
        StudyError: See `run_worker`; also if all workers were killed.
    """
    missing = unfinished_studies(jobs, conditions)
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
            _run_in_processes(jobs, conditions, n_workers, threads, step)
            return
        if accelerator_of(conditions.device) == "cpu":
            torch.set_num_threads(threads)
        run_worker(jobs, conditions, on_trial=step)


def _run_in_processes(
    jobs: list[StudyJob], conditions: Conditions, n_workers: int, threads: int, step: Callable[[str], None]
) -> None:
    preload([__name__, *(type(job.objective).__module__ for job in jobs)])
    workers: dict[Any, Connection] = {}  # a connection for each: a killed worker cannot keep a lock that others need
    failure: FusionLNError | None = None
    try:
        with interrupts_held_back():
            for _ in range(n_workers):
                own_end, worker_end = WORKERS.Pipe()
                arguments = (worker_end, jobs, conditions, threads, dict(os.environ))
                worker = WORKERS.Process(target=_run_in_worker, args=arguments, daemon=True)
                worker.start()
                worker_end.close()
                workers[worker] = own_end
        failure = _receive(workers, step)
    finally:  # after an error or Ctrl-C; without effect when all is done
        for connection in workers.values():
            connection.close()  # the signal to stop
        for worker in workers:
            worker.join()
    if failure:
        raise failure
    died = [worker for worker in workers if worker.exitcode]
    if any(worker.exitcode > 0 for worker in died):
        refuse_unguarded()
        raise RuntimeError("A worker failed: see above.")  # a bug: its traceback was printed by the worker
    if len(died) == n_workers:
        raise StudyError(
            f"all {n_workers} workers were killed (signal {-died[0].exitcode}).",
            "If memory ran out, give fewer `--workers`. The same command goes on: finished trials are kept.",
        )


def _receive(workers: dict[Any, Connection], step: Callable[[str], None]) -> FusionLNError | None:
    """Report the finished trials of the workers until all have ended; returns the error of the first that fails."""
    open_connections = {connection: worker for worker, connection in workers.items()}
    while open_connections:
        for connection in wait(list(open_connections)):
            assert isinstance(connection, Connection)
            try:
                message = connection.recv()
            except (EOFError, OSError):
                worker = open_connections.pop(connection)
                worker.join()
                if worker.exitcode < 0:
                    say(f"A worker was killed (signal {-worker.exitcode}); the others try its trial again.")
                continue
            if isinstance(message, FusionLNError):
                return message
            step(message)
    return None


def _run_in_worker(
    connection: Connection, jobs: list[StudyJob], conditions: Conditions, threads: int, environment: Mapping[str, str]
) -> None:
    init_worker(environment, threads)  # the command hears Ctrl-C and closes the connection

    def check_stop() -> None:
        if connection.poll():
            raise KeyboardInterrupt

    try:
        run_worker(jobs, conditions, on_trial=connection.send, check_stop=check_stop)
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    except FusionLNError as error:
        connection.send(error)
