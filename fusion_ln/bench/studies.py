"""Overhead of studies: the time of trials that compute nothing."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from fusion_ln.bench.page import header, table_head, table_row
from fusion_ln.cohort.default import open_phantom
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.studies import SamplerName
from fusion_ln.settings.training import FitSettings, LoopSettings, Precision
from fusion_ln.training.state import Epoch
from fusion_ln.training.tasks import PatientLogits
from fusion_ln.tuning.space import Range
from fusion_ln.tuning.storage import Budget
from fusion_ln.tuning.study import StudyJob
from fusion_ln.tuning.worker import Conditions, run_worker

EPOCHS = 5  # of a trivial trial: each is reported and may be pruned
GROUPS = 10  # of consecutive trials; each is timed as a whole
SPACE = {
    "lr": Range(1e-5, 1e-1, log=True),
    "weight_decay": Range(0.0, 0.5),
    "head_dropout": Range(0.0, 0.5),
    "batch_size": Range(4, 64),
}


@dataclass(frozen=True)
class Trivial:
    """An objective that computes nothing; its score depends on the settings."""

    cohort: Path
    base_settings: FitSettings = field(default_factory=lambda: FitSettings(epochs=EPOCHS))
    precision: Precision = "32-true"

    def describe(self) -> dict[str, Any]:
        """Return nothing: two trivial objectives never differ."""
        return {}

    def fit(
        self, tuned: LoopSettings, fold: int, fabric: Fabric, folder: Path, on_epoch: Callable[[Epoch], None]
    ) -> PatientLogits:
        """Make logits that are the better the nearer the rate is to 1e-3."""
        labels = np.arange(30) % 3
        quality = 1 / (1 + abs(np.log10(tuned.lr) + 3))
        logits = PatientLogits([str(n) for n in range(30)], labels, quality * np.eye(3)[labels])
        for epoch in range(EPOCHS):
            on_epoch(Epoch(epoch, 1.0, logits.score.loss - epoch / 100, quality, tuned.lr, 30, 0.0))
        return logits


@dataclass(frozen=True)
class TrialTimes:
    """Numbers of the first and last of some consecutive trials, and wall and CPU milliseconds per trial."""

    first: int
    last: int
    milliseconds: float
    cpu_milliseconds: float


def study_page(storages: tuple[str, ...], samplers: tuple[SamplerName, ...], *, trials: int) -> Iterator[str]:
    """Time a study per storage and sampler, and yield the lines of the page, each when it is known.

    Args:
        storages: See `open_storage`; without any, a journal file in a temporary folder.
        samplers: ``tpe``, whose own work grows with the trials that it learns from, or ``random``, whose does not.
        trials: Of each study.
    """
    cohort = open_phantom(PhantomSettings(patients=60, image_size=48)).root
    yield from header(
        "What the machinery of studies costs",
        ["fusion_ln", "optuna"],
        "Trials that compute nothing, with 5 reported epochs and 4 parameters; milliseconds per trial, wall (CPU).",
    )
    size = trials // GROUPS
    groups = (f"trials {first}-{first + size - 1}" for first in range(0, GROUPS * size, size))
    yield from table_head(["Storage", "Sampler", *groups])
    with tempfile.TemporaryDirectory() as folder:
        for storage in storages or (f"{folder}/study.journal",):
            kind = storage.partition("+")[0] if "://" in storage else "journal file"
            for sampler in samplers:
                times = bench_study(storage, cohort, trials=GROUPS * size, sampler=sampler)
                cells = (f"{each.milliseconds:.1f} ({each.cpu_milliseconds:.1f})" for each in times)
                yield table_row([kind, sampler, *cells])


def bench_study(storage: str, cohort: Path, *, trials: int, sampler: SamplerName) -> list[TrialTimes]:
    """Run trivial trials in a study of their own, and time them in `GROUPS` groups.

    Args:
        storage: See `open_storage`; the study stays in it.
        cohort: Any; only its description is read.
        trials: A multiple of `GROUPS`.
        sampler: See `study_page`.
    """
    name = f"bench-{sampler}-{os.getpid()}-{time.time_ns()}"
    job = StudyJob(name, Trivial(cohort), dict(SPACE), folds=(0,), sampler=sampler)
    ends = [(time.perf_counter(), time.process_time())]

    def on_trial(note: str) -> None:
        ends.append((time.perf_counter(), time.process_time()))

    run_worker([job], Conditions(storage, Budget(trials), DeviceSettings(device="cpu", workers=1)), on_trial=on_trial)
    size = trials // GROUPS
    milliseconds = 1000 * np.diff(np.array(ends)[::size], axis=0) / size
    return [
        TrialTimes(number * size, (number + 1) * size - 1, float(wall), float(cpu))
        for number, (wall, cpu) in enumerate(milliseconds)
    ]
