"""Worker of studies: runs trials one after another, scores and prunes them, and requeues those that fail."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import optuna
from lightning_fabric import Fabric
from optuna.trial import FrozenTrial, Trial, TrialState
from scipy.special import softmax
from sqlalchemy.exc import SQLAlchemyError

from fusion_ln.compute.device import accelerator_of
from fusion_ln.compute.fabric import make_fabric
from fusion_ln.errors import DivergedError, RunError, StudyError
from fusion_ln.metrics import score
from fusion_ln.models.precision import suited_precision
from fusion_ln.progress import say
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import FitSettings
from fusion_ln.training.crossval import read_cohort
from fusion_ln.training.state import Epoch
from fusion_ln.training.tasks import PatientLogits
from fusion_ln.tuning.results import FOLD_SCORES, KNOWN, finished
from fusion_ln.tuning.space import suggest
from fusion_ln.tuning.storage import (
    Budget,
    Heartbeat,
    TrialMonitor,
    hide_password,
    open_storage,
    requeue,
    send_heartbeats,
    with_retries,
)
from fusion_ln.tuning.study import StudyJob, open_study

EVERY_EPOCH = {"auc": "val_auc", "loss": "val_loss"}  # objectives that are known after each epoch
PAUSE = 0.5  # seconds between two checks of a study whose last trials others compute


@dataclass(frozen=True)
class Conditions:
    """Conditions of trials: storage, budget, device, heartbeat."""

    storage: str
    budget: Budget
    device: DeviceSettings
    heartbeat: Heartbeat = field(default_factory=Heartbeat)


def run_worker(
    jobs: list[StudyJob],
    conditions: Conditions,
    *,
    on_trial: Callable[[str], None] = lambda note: None,
    check_stop: Callable[[], None] = lambda: None,
) -> None:
    """Run trials of the studies, one after another, until the budget of each is spent; other workers may help.

    Args:
        jobs: The studies.
        how: Where and for how long.
        on_trial: Is result of each trial that this worker has finished.
        check_stop: Is called after every epoch, and may raise KeyboardInterrupt.

    Raises:
        StudyError: If the storage cannot be reached, or a study of the same name tunes something else.
        KeyboardInterrupt: After the running trial went back into the queue.
    """
    storage, where = open_storage(conditions.storage), hide_password(conditions.storage)
    workers = [
        StudyWorker(with_retries(partial(open_study, job, storage), where), job, conditions, where) for job in jobs
    ]
    while workers := [each for each in workers if not each.step(on_trial, check_stop)]:
        sleep(PAUSE)


def unfinished_studies(jobs: list[StudyJob], conditions: Conditions) -> list[tuple[StudyJob, int]]:
    """List the studies whose budget is not spent, each with the number of missing trials (0 with a time budget).

    Studies that do not exist yet are created.

    Raises:
        StudyError: As `run_worker`.
    """
    storage, where = open_storage(conditions.storage), hide_password(conditions.storage)
    found = []
    for job in jobs:
        study = with_retries(partial(open_study, job, storage), where)
        trials = study.get_trials(deepcopy=False)
        if not conditions.budget.is_spent(trials):
            found.append((job, max(0, (conditions.budget.trials or 0) - len(finished(trials)))))
    return found


@dataclass
class StudyWorker:
    """Worker of one study."""

    study: optuna.Study
    job: StudyJob
    conditions: Conditions
    where: str
    monitor: TrialMonitor = field(init=False)
    fabric: Fabric = field(init=False)

    def __post_init__(self) -> None:
        self.monitor = TrialMonitor(self.conditions.heartbeat)
        device, objective = self.conditions.device, self.job.objective
        networks = [objective.base_settings] if isinstance(objective.base_settings, FitSettings) else []
        self.fabric = make_fabric(device, suited_precision(objective.precision, networks, accelerator_of(device)))

    def step(self, on_trial: Callable[[str], None], check_stop: Callable[[], None]) -> bool:
        """Run trials while further ones may begin; returns False if others' trials are still to be waited for."""
        while True:
            check_stop()
            trials = self._trials()
            if not self.conditions.budget.allows(trials):
                return self.conditions.budget.is_spent(trials)
            try:
                self._run_trial(on_trial, check_stop)
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError):
                say(f"{self.where}: lost during a trial, which will be tried again.")  # the next access retries
            except OSError as error:
                raise StudyError(
                    f"{self.where}: a trial failed ({error}).",
                    "Mend it; the same command then goes on.",
                ) from error

    def _trials(self) -> list[FrozenTrial]:
        """List all trials, after those of dead workers were queued again."""

        def requeue_and_list() -> list[FrozenTrial]:
            if self.monitor.requeue_dead(self.study, self.study.get_trials(deepcopy=False)):
                say(f"{self.job.name}: a worker is silent; its trial is tried again.")
            return self.study.get_trials(deepcopy=False)

        return with_retries(requeue_and_list, self.where)

    def _run_trial(self, on_trial: Callable[[str], None], check_stop: Callable[[], None]) -> None:
        trial = self.study.ask()
        if not self.conditions.budget.has_room_for(trial, self.study.get_trials(deepcopy=False)):
            self.study.tell(trial, state=TrialState.FAIL)
            return
        outcome: dict[str, Any] = {}
        with send_heartbeats(trial, self.conditions.heartbeat):
            try:
                outcome["values"] = evaluate_trial(self.job, trial, self.fabric, check_stop)
            except (optuna.TrialPruned, DivergedError):
                outcome["state"] = TrialState.PRUNED
            except optuna.exceptions.UpdateFinishedTrialError:
                return  # this worker sent no beat for so long that another took over
            except (KeyboardInterrupt, RunError):  # the user stopped it, or will mend what it met: a full disk
                requeue(self.study, self.study.get_trials(deepcopy=False)[trial.number])
                raise
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError):
                raise  # the failure cannot be stored either
            except Exception:
                self.study.tell(trial, state=TrialState.FAIL)
                raise
        result = with_retries(partial(self.study.tell, trial, skip_if_finished=True, **outcome), self.where)
        on_trial(f"{self.job.name}, trial {trial.number}: {_describe_result(self.job, result)}")


def _describe_result(job: StudyJob, trial: FrozenTrial) -> str:
    if trial.state != TrialState.COMPLETE:
        return "pruned"
    return ", ".join(f"{name} {value:.3f}" for name, value in zip(job.objectives, trial.values, strict=True))


def evaluate_trial(job: StudyJob, trial: Trial, fabric: Fabric, check_stop: Callable[[], None]) -> list[float]:
    """Compute the objectives of a trial: means over its folds of the scores on inner validation.

    Raises:
        TrialPruned: If the mean so far is below the median of the earlier trials at the same epoch of the same fold.
        DivergedError: If a loss is not finite.
        SettingsError: If the trial's settings do not go together.
    """
    tuned = suggest(job.space, trial, job.objective.base_settings)
    classes = read_cohort(job.objective.cohort).classes
    prunes = len(job.objectives) == 1 and KNOWN not in trial.user_attrs
    scores: list[dict[str, float]] = []

    def report(value: float, step: int) -> None:
        if len(job.objectives) == 1:
            trial.report(float(np.mean([*(s[job.objectives[0]] for s in scores), value])), step)
            if prunes and trial.should_prune():
                raise optuna.TrialPruned

    for position, fold in enumerate(job.folds):
        epochs: list[Epoch] = []

        def on_epoch(epoch: Epoch, epochs: list[Epoch] = epochs, first: int = position * job.epochs) -> None:
            check_stop()
            epochs.append(epoch)
            if job.objectives[0] in EVERY_EPOCH:
                best = min(epochs, key=lambda each: each.val_loss)
                report(getattr(best, EVERY_EPOCH[job.objectives[0]]), first + len(epochs) - 1)

        with tempfile.TemporaryDirectory() as folder:
            predictions = job.objective.fit(tuned, fold, fabric, Path(folder), on_epoch)
        of_fold = _scores(predictions, job, classes, sum(epoch.seconds for epoch in epochs))
        if len(epochs) < job.epochs:  # it stopped early
            report(of_fold[job.objectives[0]], (position + 1) * job.epochs - 1)
        scores.append(of_fold)
    trial.set_user_attr(FOLD_SCORES, [{"fold": fold, **each} for fold, each in zip(job.folds, scores, strict=True)])
    return [float(np.mean([each[name] for each in scores])) for name in job.objectives]


def _scores(predictions: PatientLogits, job: StudyJob, classes: tuple[str, ...], seconds: float) -> dict[str, float]:
    """Compute every objective on the inner validation patients of a fold, without those that a missing class undefines.

    Raises:
        StudyError: If an objective of the study is undefined.
    """
    of_metrics = score(
        predictions.labels, softmax(predictions.logits, axis=1), classes, np.ones((1, len(predictions.labels)))
    )
    found = {"auc": predictions.score.auc, "loss": predictions.score.loss, "seconds": seconds}
    found |= {name: float(value[0]) for name, value in of_metrics.items()}
    if missing := [name for name in job.objectives if np.isnan(found[name])]:
        raise StudyError(
            f"study {job.name}: {missing[0]} cannot be computed: the inner validation patients lack a class.",
            "Take another objective (`--objectives loss`), or draw fewer folds.",
        )
    return {name: value for name, value in found.items() if not np.isnan(value)}
