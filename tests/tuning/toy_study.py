"""A study whose trials cost nothing, and a worker that hangs in its first."""

import math
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import FitSettings
from fusion_ln.training.state import Epoch
from fusion_ln.training.tasks import PatientLogits
from fusion_ln.tuning.space import Range
from fusion_ln.tuning.storage import Budget, Heartbeat
from fusion_ln.tuning.study import StudyJob
from fusion_ln.tuning.worker import Conditions, run_worker

FAST = Heartbeat(interval=0.02, grace=0.4)


@dataclass(frozen=True)
class Toy:
    """Its score falls with the distance of the rate from 1e-3; ``hang``: it says that it has begun, and never ends."""

    cohort: Path
    base_settings: FitSettings = field(default_factory=FitSettings)
    precision: str = "32-true"
    hang: bool = False

    def describe(self):
        return {}

    def fit(self, tuned, fold, fabric, folder, on_epoch):
        quality = 2 / (1 + abs(math.log10(tuned.lr) + 3)) - 1
        labels = np.arange(30) % 3
        logits = quality * np.eye(3)[labels] + np.random.default_rng(fold).normal(size=(30, 3))
        predictions = PatientLogits([f"P{n:02d}" for n in labels], labels, logits)
        if self.hang:
            print("begun", flush=True)
            signal.pause()
        for epoch in range(tuned.epochs):
            on_epoch(Epoch(epoch, 1.0, predictions.score.loss, predictions.score.auc, tuned.lr, 30, 0.0))
        return predictions


def toy_job(cohort, name="toy", **changes):
    target = Toy(cohort, FitSettings(epochs=4))
    space = {"lr": Range(1e-5, 1e-1, log=True)}
    return replace(StudyJob(name, target, space, folds=(0, 1), known=({"lr": 3e-3},)), **changes)


def conditions(storage, trials, **changes):
    base = Conditions(str(storage), Budget(trials), DeviceSettings(device="cpu", workers=1), FAST)
    return replace(base, **changes)


def hang(storage, cohort):
    job = toy_job(Path(cohort))
    run_worker([replace(job, objective=replace(job.objective, hang=True))], conditions(storage, 6))
