"""Multi-task pre-training: one backbone learns several ultrasound tasks, with one head per task."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from pydantic import TypeAdapter, ValidationError

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.folds import draw_share
from fusion_ln.compute.ddp import run_on_all_ranks
from fusion_ln.compute.device import accelerator_of
from fusion_ln.compute.fabric import make_fabric, precision_of
from fusion_ln.errors import CohortError, RunError
from fusion_ln.evaluation.folds import describe_folds
from fusion_ln.files.formats import write_json, write_parquet
from fusion_ln.files.locks import locked
from fusion_ln.images.bank import ImageBank, open_bank
from fusion_ln.images.batches import Batches
from fusion_ln.models.backbones import Backbone, create_backbone
from fusion_ln.models.checkpoint import save_tensors
from fusion_ln.models.classifier import MultiTaskClassifier, mlp_head
from fusion_ln.models.precision import suited_precision
from fusion_ln.models.rehearsal import check_network, check_weights
from fusion_ln.models.weights.load import BACKBONE_PREFIX
from fusion_ln.models.weights.network import metadata_of
from fusion_ln.predictions import write_predictions
from fusion_ln.progress import progress, say
from fusion_ln.records.kinds import PretrainingRecord
from fusion_ln.records.origin import new_origin
from fusion_ln.records.parts import PretrainingFit, TaskSummaries
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.pretraining import PretrainSettings
from fusion_ln.terms import LABEL, PATIENT
from fusion_ln.threads import keep_freed_memory
from fusion_ln.training.fit import FitResult, derive_seed, fit
from fusion_ln.training.optimizer import layer_rates, resting_backbone
from fusion_ln.training.pretraining.leakage import keep_pictures
from fusion_ln.training.pretraining.multitask import MultiTaskLearning, TaskBatches
from fusion_ln.training.room import check_room, pretraining_needs
from fusion_ln.training.state import Epoch
from fusion_ln.training.tasks import ValidationScore

STATES = "fit"  # folder of the run in which the unfinished fit keeps its state
VALIDATION_SHARE = 0.2  # each task is split 4:1 (Jiang et al. 2025)


@dataclass(frozen=True)
class TaskData:
    """Pictures of a task: a cohort of one modality, with its training and validation patients."""

    cohort: Cohort
    bank: ImageBank
    training: list[str]
    validation: list[str]

    @property
    def modality(self) -> str:
        return self.cohort.modalities[0]


def pretrain(cohorts: list[Cohort], settings: PretrainSettings, run: RunFolder, device: DeviceSettings) -> None:
    """Train one backbone on all cohorts and keep the epoch with the lowest mean validation loss.

    Each cohort is split 4:1 by patient within its classes. A run that was interrupted goes on from its last finished
    epoch; a finished one is kept.

    Raises:
        CohortError: If a cohort has more than one modality or fewer than two classes, a class has fewer than two
            patients, or two cohorts have the same name.
        RunError: If the folder holds another run, or cannot be written, or its disk is too small.
        SettingsError, WeightsError: See `create_backbone`.
        DivergedError: If a loss stops being a number.
    """
    _check(cohorts)
    check_network(settings.fit.backbone, settings.fit.image_size)
    check_weights(settings.fit.backbone, settings.fit.image_size, settings.fit.weights)
    check_room(pretraining_needs(cohorts, settings.fit, run))
    record = PretrainingRecord(
        settings=settings,
        cohort=TaskSummaries(tasks=tuple(cohort.describe() for cohort in cohorts)),
        simulated=any(cohort.simulated for cohort in cohorts),
        **new_origin(),
    )
    with locked(run.lock):
        if run.claim(record) and run.backbone.is_file():
            shutil.rmtree(run.root / STATES, ignore_errors=True)  # if it was killed after its last file
            say(f"{run.root}: already there, with these settings; kept.")
            return
        held = run.read_record()
        assert isinstance(held, PretrainingRecord)  # claimed above
        keep_pictures(cohorts, run)
        roots = [cohort.root for cohort in cohorts]
        files = [*(root / "cohort.toml" for root in roots), run.record]
        with run_on_all_ranks(device, files, partial(_take_part, roots, settings, run, device)):
            pretrained = _fit_tasks(cohorts, settings, run, device)
        _write(run, held, settings, pretrained)


@dataclass(frozen=True)
class _Pretrained:
    """A finished fit with its tasks' data."""

    tasks: list[TaskData]
    learning: MultiTaskLearning
    result: FitResult
    scores: "_TaskScores"
    fabric: Fabric


def _fit_tasks(
    cohorts: list[Cohort], settings: PretrainSettings, run: RunFolder, device: DeviceSettings
) -> _Pretrained:
    """Fit the model, in every process that shares the fit."""
    keep_freed_memory()
    tasks = [_split(cohort, settings) for cohort in cohorts]
    precision = suited_precision(settings.fit.precision, [settings.fit], accelerator_of(device))
    fabric = make_fabric(device, precision, find_unused_parameters=True)
    scores = _TaskScores(run.root / STATES, tuple(task.cohort.name for task in tasks))
    learning = _build(tasks, settings, scores)
    result = _fit(learning, tasks, settings, scores, fabric)
    learning.model.load_state_dict(result.weights)
    return _Pretrained(tasks, learning, result, scores, fabric)


def _take_part(roots: list[Path], settings: PretrainSettings, run: RunFolder, device: DeviceSettings) -> None:
    """Take part in the fit that the first process started."""
    _fit_tasks([load_cohort(root) for root in roots], settings, run, device)


def _check(cohorts: list[Cohort]) -> None:
    names = [cohort.name for cohort in cohorts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        roots = ", ".join(str(cohort.root) for cohort in cohorts if cohort.name == twice[0])
        raise CohortError(
            f"{names.count(twice[0])} tasks are named {twice[0]!r}: {roots}.",
            "Leave one out, or give it another `name` in its cohort.toml.",
        )
    for cohort in cohorts:
        if len(cohort.modalities) != 1:
            raise CohortError(
                f"task {cohort.name}: has the modalities {', '.join(cohort.modalities)}; a task has one.",
                "Import its pictures of one modality alone (`--leave-out PATH`).",
            )
        cohort.refuse_unlabelled()
        counts = np.bincount(cohort.patients[LABEL], minlength=len(cohort.classes))
        counted = ", ".join(f"{name} {count}" for name, count in zip(cohort.classes, counts, strict=True))
        if (counts > 0).sum() < 2:
            raise CohortError(f"task {cohort.name}: only one class has patients ({counted}).", "Leave this task out.")
        if counts.min() < 2:
            raise CohortError(
                f"task {cohort.name}: a class has fewer than 2 patients ({counted}), too few to train and to validate.",
                "Add patients, or import it without that class (`--leave-out PATH`).",
            )


def _split(cohort: Cohort, settings: PretrainSettings) -> TaskData:
    bank = open_bank(cohort, cohort.modalities[0], settings.fit.image_size)
    validation = draw_share(cohort.patients, VALIDATION_SHARE, settings.seed)
    names = cohort.patients[PATIENT]
    return TaskData(cohort, bank, names[~validation].tolist(), names[validation].tolist())


def _build(tasks: list[TaskData], settings: PretrainSettings, scores: "_TaskScores") -> MultiTaskLearning:
    torch.manual_seed(derive_seed(settings.seed))  # the first weights
    fit = settings.fit
    backbone = create_backbone(fit.backbone, image_size=fit.image_size, weights=fit.weights)
    heads = [
        mlp_head(backbone.n_features, fit.head_width, len(task.cohort.classes), fit.head_dropout) for task in tasks
    ]
    modalities = tuple(task.modality for task in tasks)
    model = MultiTaskClassifier(backbone, heads)
    return MultiTaskLearning(model, modalities, scores.keep, fit.augmentation, fit.label_smoothing)


def _validation_batches(tasks: list[TaskData], settings: PretrainSettings, device: torch.device) -> TaskBatches:
    size = settings.fit.batch_size
    parts = (Batches(task.bank, task.bank.rows_of(task.validation), size, device=device) for task in tasks)
    return TaskBatches(tuple(parts))


def _fit(
    learning: MultiTaskLearning,
    tasks: list[TaskData],
    settings: PretrainSettings,
    scores: "_TaskScores",
    fabric: Fabric,
) -> FitResult:
    parts = tuple(
        Batches(
            task.bank,
            task.bank.rows_of(task.training),
            settings.fit.batch_size,
            seed=settings.seed,
            oversample=True,
            share=(fabric.global_rank, fabric.world_size),
            device=fabric.device,
        )
        for task in tasks
    )
    train = TaskBatches(parts, settings.order, settings.seed, scores.on_batch)
    with progress("Pre-training (batches)", settings.fit.epochs * len(train)) as step:
        scores.step, scores.n_batches = step, len(train)
        return fit(
            learning,
            train,
            _validation_batches(tasks, settings, fabric.device),
            settings=settings.fit,
            seed=derive_seed(settings.seed),
            fabric=fabric,
            folder=scores.folder,
            name=", ".join(scores.names),
            on_epoch=scores.on_epoch if fabric.is_global_zero else lambda epoch: None,
            lr_scale=layer_rates(learning.model.backbone, settings.fit),
            rests=resting_backbone(learning.model.backbone, settings.fit),
            shards=settings.shards,
        )


_SCORES: TypeAdapter[dict[str, dict[str, float | None]]] = TypeAdapter(dict[str, dict[str, float | None]])


@dataclass
class _TaskScores:
    """Validation scores of each task and epoch, shown as progress and kept on disk beside the fit's state."""

    folder: Path
    names: tuple[str, ...]
    step: Callable[[str], None] = lambda note: None
    n_batches: int = 0  # of an epoch
    epoch: int = -1  # the last one whose batches were shown
    note: str = ""

    def on_batch(self, epoch: int, task: int) -> None:
        self.epoch = epoch
        self.step(f"epoch {epoch + 1}, {self.names[task]}{self.note}")

    def keep(self, scores: list[ValidationScore]) -> None:
        """Write the scores of the tasks after the epoch that runs."""
        by_task = {name: asdict(score) for name, score in zip(self.names, scores, strict=True)}
        finite = {name: {k: v if np.isfinite(v) else None for k, v in part.items()} for name, part in by_task.items()}
        write_json(self._file(self.epoch), finite)

    def on_epoch(self, epoch: Epoch) -> None:
        losses = ", ".join(f"{name} {score['loss']:.3f}" for name, score in self.read(epoch.epoch).items())
        self.note = f"; validation loss {epoch.val_loss:.3f} ({losses})"
        if epoch.epoch > self.epoch:  # finished before this run was started again
            for _ in range(self.n_batches):
                self.step(f"epoch {epoch.epoch + 1}{self.note}")

    def read(self, epoch: int) -> dict[str, dict[str, float | None]]:
        """Read loss and AUC of each task after an epoch."""
        try:
            return _SCORES.validate_json(self._file(epoch).read_bytes())
        except (OSError, ValidationError):
            raise RunError(
                f"{self._file(epoch)}: cannot be read as the scores of an epoch.",
                f"Delete {self.folder}: the same command then pre-trains anew.",
            ) from None

    def history(self, epochs: list[Epoch]) -> pd.DataFrame:
        """Build a table with one row per epoch and each task's scores (``val_loss:<task>``, ``val_auc:<task>``)."""
        rows = []
        for epoch in epochs:
            parts = self.read(epoch.epoch).items()
            rows.append(asdict(epoch) | {f"val_{key}:{name}": v for name, part in parts for key, v in part.items()})
        return pd.DataFrame(rows)

    def _file(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch}.json"


def _write(run: RunFolder, record: PretrainingRecord, settings: PretrainSettings, pretrained: _Pretrained) -> None:
    """Write predictions of each task's validation patients, metrics and history; the backbone last."""
    tasks, result, fabric = pretrained.tasks, pretrained.result, pretrained.fabric
    with fabric.autocast():
        predicted = pretrained.learning.predict(_validation_batches(tasks, settings, fabric.device), fabric.device)
    metrics = {}
    for task, logits in zip(tasks, predicted, strict=True):
        predictions = logits.of_fold(task.cohort.classes, 0)
        write_predictions(run.task(task.cohort.name) / run.predictions.name, predictions)
        metrics[task.cohort.name] = describe_folds(predictions, task.cohort.patients[PATIENT])
    write_json(run.metrics, metrics)
    write_parquet(run.history, pretrained.scores.history(result.history))
    seconds = sum(epoch.seconds for epoch in result.history)
    summary = PretrainingFit(
        seconds=round(seconds, 2),
        pictures_per_second=round(sum(epoch.pictures for epoch in result.history) / seconds, 1),
        epochs=len(result.history),
        best_epoch=result.best_epoch,
        precision=precision_of(fabric),
        patients={task.cohort.name: (len(task.training), len(task.validation)) for task in tasks},
    )
    run.write_record(record.model_copy(update={"fit": summary}))
    tensors = {name: t for name, t in result.weights.items() if name.startswith(BACKBONE_PREFIX)}
    backbone = pretrained.learning.model.backbone
    network = backbone.network if isinstance(backbone, Backbone) else None
    described = {"pretraining": settings.model_dump_json(), **metadata_of(network)}
    save_tensors(run.backbone, tensors, described)
    shutil.rmtree(pretrained.scores.folder)
