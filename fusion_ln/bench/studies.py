"""What the machinery of studies costs: trials that compute nothing, and the share of it in a trial that does."""

import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from fusion_ln.settings import DeviceSettings, FitSettings, LoopSettings, Precision
from fusion_ln.training.fit import Epoch
from fusion_ln.training.tasks import PatientLogits
from fusion_ln.tuning.space import Range
from fusion_ln.tuning.storage import Budget
from fusion_ln.tuning.study import StudyJob
from fusion_ln.tuning.worker import Conditions, run_worker

EPOCHS = 5  # of a trivial trial: each is reported and may be pruned
BLOCKS = 10
SPACE = {
    "lr": Range(1e-5, 1e-1, log=True),
    "weight_decay": Range(0.0, 0.5),
    "head_dropout": Range(0.0, 0.5),
    "batch_size": Range(4, 64),
}


@dataclass(frozen=True)
class Trivial:
    """A target that computes nothing; its score depends on the settings."""

    cohort: Path
    base_settings: FitSettings = field(default_factory=lambda: FitSettings(epochs=EPOCHS))
    precision: Precision = "32-true"

    def describe(self) -> dict[str, Any]:
        """Nothing that could differ."""
        return {}

    def fit(self, tuned: LoopSettings, fold: int, fabric: Fabric, folder: Path, on_epoch: Any) -> PatientLogits:
        """Logits that are the better the nearer the rate is to 1e-3."""
        labels = np.arange(30) % 3
        quality = 1 / (1 + abs(np.log10(tuned.lr) + 3))
        said = PatientLogits([str(n) for n in range(30)], labels, quality * np.eye(3)[labels])
        for epoch in range(EPOCHS):
            on_epoch(Epoch(epoch, 1.0, said.score.loss - epoch / 100, quality, tuned.lr, 30, 0.0))
        return said


@dataclass(frozen=True)
class Block:
    """Trials one after another: how many, their numbers, and milliseconds of each, in all and of the processor."""

    first: int
    last: int
    milliseconds: float
    cpu_milliseconds: float


def bench_study(storage: str, cohort: Path, *, trials: int, sampler: str) -> Iterator[Block]:
    """Run trivial trials in a study of their own, and time them block by block.

    Args:
        storage: See `open_storage`; the study stays in it.
        cohort: Any; only its description is read.
        trials: How many, a multiple of `BLOCKS`.
        sampler: ``tpe``, whose own work grows with the trials it learns from, or ``random``, whose does not.
    """
    name = f"bench-{sampler}-{os.getpid()}-{time.time_ns()}"
    job = StudyJob(name, Trivial(cohort), dict(SPACE), folds=(0,), sampler=sampler)
    size, ends = trials // BLOCKS, [(time.perf_counter(), time.process_time())]
    done = 0

    def on_trial(note: str) -> None:
        nonlocal done
        done += 1
        if done % size == 0:
            ends.append((time.perf_counter(), time.process_time()))

    run_worker([job], Conditions(storage, Budget(trials), DeviceSettings(device="cpu", workers=1)), on_trial=on_trial)
    for number, (start, end) in enumerate(itertools.pairwise(ends)):
        wall, cpu = (1000 * (b - a) / size for a, b in zip(start, end, strict=True))
        yield Block(number * size, (number + 1) * size - 1, wall, cpu)
