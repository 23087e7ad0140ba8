"""Cells of an experiment side by side: their fits in one queue, and what follows in processes of one thread each."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import TypeVar

import torch

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.compute.device import accelerator_of
from fusion_ln.compute.engines import run_jobs
from fusion_ln.compute.job import OnEpoch
from fusion_ln.compute.processes import WORKERS, init_worker, preload
from fusion_ln.files.locks import locked
from fusion_ln.images.bank import open_bank
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import PRESETS, PRETRAINED, BaselineSettings
from fusion_ln.terms import PATIENT
from fusion_ln.threads import cores
from fusion_ln.training.crossval import FoldJob, begin, read_cohort
from fusion_ln.training.fold_files import FOLD_RECORD, finish
from fusion_ln.training.fusion.tokens import picture_tokens

K = TypeVar("K")
FIT = PRESETS[PRETRAINED].model_copy(update={"label_smoothing": 0.0})  # as the tables of the cells began
OF_A_PROCESS = 4  # cores that each may use: fewer than folds, so that a fit gets one thread
LOOK_SECONDS = 0.5
_given: list[int] = []  # cores of the machine, in a process of the pool


@dataclass(frozen=True)
class Planned:
    """A cohort, the baselines that it is to train, and the members whose tokens its heads will see."""

    cohort: Cohort
    baselines: dict[RunFolder, BaselineSettings]
    members: list[RunFolder]


@dataclass(frozen=True)
class FoldAndTokens(FoldJob):
    """One fit and then, on the same device, the tokens of its pictures for heads of default tokens."""

    def execute(self, on_epoch: OnEpoch) -> None:
        """Fit the fold and store the tokens; who needs them sooner waits for their lock or computes them."""
        super().execute(on_epoch)
        device = torch.device(accelerator_of(self.device))
        picture_tokens(read_cohort(self.cohort), self.folder, self.fold, HeadSettings(), device)


def train_side_by_side(cells: Mapping[K, Planned], device: DeviceSettings, follow: Callable[[K], None]) -> None:
    """Train the baselines of all cells in one queue, as many fits at once as the device is told, in the cells' order.

    Args:
        cells: By their keys; finished folds are kept.
        device: The device.
        follow: Called with the key of every cell as soon as its members are finished.
    """
    waiting, ended = dict(cells), Event()

    def look() -> None:
        for key, cell in list(waiting.items()):
            for run in cell.baselines:
                folds = [run.fold(number) / FOLD_RECORD for number in range(cell.cohort.n_folds)]
                if not run.finished and all(fold.is_file() for fold in folds):
                    finish(run, cell.cohort.patients[PATIENT])
            if all(member.finished for member in cell.members):
                del waiting[key]
                follow(key)

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            look()

    with locked(*(run.lock for cell in cells.values() for run in cell.baselines)):
        jobs = [
            FoldAndTokens(**vars(job))
            for cell in cells.values()
            for run, settings in cell.baselines.items()
            for job in begin(cell.cohort, settings, run, device)
        ]
        watcher = Thread(target=watch, daemon=True)
        watcher.start()
        try:
            run_jobs(jobs, shares=cores(), title="Fits")
        finally:
            ended.set()
            watcher.join()
        look()


@contextmanager
def processes_of_one_thread(number: int) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of processes that compute with one thread each and give way to fits; an error ends them."""
    preload(["fusion_ln.training.run"])
    pool = ProcessPoolExecutor(number, mp_context=WORKERS, initializer=_begin, initargs=(dict(os.environ),))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(environment: Mapping[str, str]) -> None:
    _given[:] = sorted(os.sched_getaffinity(0))
    os.nice(10)
    init_worker(environment, 1)
    _take_few()


def _take_few() -> None:
    os.sched_setaffinity(0, {_given[(os.getpid() + place) % len(_given)] for place in range(OF_A_PROCESS)})


def prepare_pictures(opened: Callable[[], Cohort], size: int) -> None:
    """Open a cohort and decode the pictures of all its modalities, with every core; what is there already stays."""
    os.sched_setaffinity(0, _given)
    cohort = opened()
    for modality in cohort.modalities:
        open_bank(cohort, modality, size)
    _take_few()
