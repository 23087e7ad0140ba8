"""Overhead of studies: the time of trials that compute nothing."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from lightning_fabric import Fabric

from fusion_ln.bench.record import Figure
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


def study_figures(storages: tuple[str, ...], samplers: tuple[SamplerName, ...], *, trials: int) -> Iterator[Figure]:
    """Time the first and the last trials of a study per storage and sampler.

    Args:
        storages: See `open_storage`; without any, a journal file in a temporary folder.
        samplers: ``tpe``, whose own work grows with the trials that it learns from, or ``random``, whose does not.
        trials: Of each study.
    """
    cohort = open_phantom(PhantomSettings(patients=60, image_size=48)).root
    size = trials // GROUPS
    with tempfile.TemporaryDirectory() as folder:
        for storage in storages or (f"{folder}/study.journal",):
            kind = storage.partition("+")[0] if "://" in storage else "journal file"
            for sampler in samplers:
                times = bench_study(storage, cohort, trials=GROUPS * size, sampler=sampler)
                floors = _bare_study(sampler, GROUPS * size)
                for each, floor in ((times[0], floors[0]), (times[-1], floors[-1])):
                    yield Figure(
                        benchmark="study",
                        task=f"trial that computes nothing, {kind}, {sampler}, {each.first} to {each.last}",
                        seconds=each.milliseconds / 1000,
                        floor="Optuna alone, in memory",
                        floor_seconds=floor,
                    )


def _bare_study(sampler: SamplerName, trials: int) -> np.ndarray:
    """Time the same trials by Optuna alone, in memory; returns the seconds of a trial in each group."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers = optuna.samplers
    study = optuna.create_study(sampler=samplers.TPESampler(seed=0) if sampler == "tpe" else samplers.RandomSampler(0))
    ends = [time.perf_counter()]
    for _ in range(trials):
        trial = study.ask()
        for name, choice in SPACE.items():
            trial.suggest_float(name, float(choice.low), float(choice.high), log=choice.log)
        for epoch in range(EPOCHS):
            trial.report(1.0, epoch)
        study.tell(trial, abs(np.log10(trial.params["lr"]) + 3))
        ends.append(time.perf_counter())
    seconds: np.ndarray = np.diff(np.array(ends)[:: trials // GROUPS]) / (trials // GROUPS)
    return seconds


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
