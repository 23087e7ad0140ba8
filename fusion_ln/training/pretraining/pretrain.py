"""Multi-task pre-training: one backbone learns several ultrasound sets, each under a head of its own."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from pydantic import Field
from safetensors.torch import save_file

from fusion_ln.cohort.cohort import Cohort, load_cohort
from fusion_ln.cohort.folds import draw_share
from fusion_ln.compute.ddp import run_on_all_ranks
from fusion_ln.compute.device import make_fabric, precision_of
from fusion_ln.errors import CohortError
from fusion_ln.files import write_atomically, write_json, write_parquet
from fusion_ln.images.bank import Batches, ImageBank, open_bank
from fusion_ln.metrics import describe
from fusion_ln.models.backbones import create_backbone
from fusion_ln.models.classifier import MultiTaskClassifier, mlp_head
from fusion_ln.models.weights import BACKBONE_PREFIX
from fusion_ln.predictions import predictions_from_logits, write_predictions
from fusion_ln.progress import progress, say
from fusion_ln.runs import RunFolder, new_record
from fusion_ln.settings import DeviceSettings, FitSettings, Settings
from fusion_ln.terms import LABEL, PATIENT
from fusion_ln.training.crossval import describe_cohort
from fusion_ln.training.fit import Epoch, FitResult, derive_seed, fit
from fusion_ln.training.pretraining.leakage import keep_pictures
from fusion_ln.training.pretraining.multitask import MultiTaskLearning, Order, TaskBatches
from fusion_ln.training.tasks import ValidationScore

VALIDATION_SHARE = 0.2  # each set is split 4:1 (Jiang et al. 2025)
PATIENCE = 5  # epochs, as there


class PretrainSettings(Settings):
    """One backbone on several sets."""

    fit: FitSettings = FitSettings(patience=PATIENCE)
    order: Order = "sequential"
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class TaskSet:
    """A set of pictures to learn: its cohort of one modality, and the patients to learn from and to judge by."""

    cohort: Cohort
    bank: ImageBank
    training: list[str]
    validation: list[str]

    @property
    def modality(self) -> str:
        return self.cohort.modalities[0]


def pretrain(cohorts: list[Cohort], settings: PretrainSettings, run: RunFolder, device: DeviceSettings) -> None:
    """Learn all cohorts with one backbone and keep the backbone of the epoch with the lowest mean validation loss.

    Each cohort is split 4:1 by patient within its classes. A run that was interrupted goes on from its last finished
    epoch; a finished one is kept.

    Raises:
        CohortError: If a cohort has more than one modality or fewer than two classes, a class has fewer than two
            patients, or two cohorts have the same name.
        RunError: If the folder holds another run, or cannot be written.
        SettingsError, WeightsError: See `create_backbone`.
        DivergedError: If a loss stops being a number.
    """
    _check(cohorts)
    record = new_record(
        "pretraining",
        settings.model_dump(),
        {"tasks": [describe_cohort(cohort) for cohort in cohorts]},
        simulated=any(cohort.simulated for cohort in cohorts),
        cohort_paths=[str(cohort.root.resolve()) for cohort in cohorts],
    )
    if run.claim(record) and run.backbone.is_file():
        say(f"{run.root}: already there, with these settings; kept.")
        return
    record = run.read_record()
    keep_pictures(cohorts, run)
    roots = [cohort.root for cohort in cohorts]
    files = [*(root / "cohort.toml" for root in roots), run.record]
    with run_on_all_ranks(device, files, partial(_take_part, roots, settings, run, device)):
        learnt = _learn(cohorts, settings, run, device)
    _write(run, record, settings, learnt)


@dataclass(frozen=True)
class _Learnt:
    """A finished fit, and what it takes to judge it."""

    sets: list[TaskSet]
    task: MultiTaskLearning
    result: FitResult
    watch: "_Watch"
    fabric: Fabric


def _learn(cohorts: list[Cohort], settings: PretrainSettings, run: RunFolder, device: DeviceSettings) -> _Learnt:
    """Fit the model; of the processes that share the fit, each does this."""
    sets = [_open(cohort, settings) for cohort in cohorts]
    fabric = make_fabric(device, settings.fit.precision, rests=True)
    watch = _Watch(run.root / "fit", tuple(each.cohort.name for each in sets))
    task = _task(sets, settings, watch)
    result = _fit(task, sets, settings, watch, fabric)
    task.model.load_state_dict(result.weights)
    return _Learnt(sets, task, result, watch, fabric)


def _take_part(roots: list[Path], settings: PretrainSettings, run: RunFolder, device: DeviceSettings) -> None:
    """The part of a process that shares the fit with the first."""
    _learn([load_cohort(root) for root in roots], settings, run, device)


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
        counts = np.bincount(cohort.patients[LABEL], minlength=len(cohort.classes))
        told = ", ".join(f"{name} {count}" for name, count in zip(cohort.classes, counts, strict=True))
        if (counts > 0).sum() < 2:
            raise CohortError(f"task {cohort.name}: only one class has patients ({told}).", "Leave this task out.")
        if counts.min() < 2:
            raise CohortError(
                f"task {cohort.name}: a class has fewer than 2 patients ({told}), too few to learn and to judge.",
                "Add patients, or import it without that class (`--leave-out PATH`).",
            )


def _open(cohort: Cohort, settings: PretrainSettings) -> TaskSet:
    bank = open_bank(cohort, cohort.modalities[0], settings.fit.image_size)
    judges = draw_share(cohort.patients, VALIDATION_SHARE, settings.seed)
    names = cohort.patients[PATIENT]
    return TaskSet(cohort, bank, names[~judges].tolist(), names[judges].tolist())


def _task(sets: list[TaskSet], settings: PretrainSettings, watch: "_Watch") -> MultiTaskLearning:
    torch.manual_seed(derive_seed(settings.seed))  # the first weights
    fit = settings.fit
    backbone = create_backbone(fit.backbone, image_size=fit.image_size, weights=fit.weights)
    heads = [mlp_head(backbone.n_features, fit.head_width, len(each.cohort.classes)) for each in sets]
    return MultiTaskLearning(MultiTaskClassifier(backbone, heads), tuple(each.modality for each in sets), watch.keep)


def _judges(sets: list[TaskSet], settings: PretrainSettings) -> TaskBatches:
    size = settings.fit.batch_size
    return TaskBatches(tuple(Batches(each.bank, each.bank.rows_of(each.validation), size) for each in sets))


def _fit(
    task: MultiTaskLearning, sets: list[TaskSet], settings: PretrainSettings, watch: "_Watch", fabric: Fabric
) -> FitResult:
    parts = tuple(
        Batches(
            each.bank,
            each.bank.rows_of(each.training),
            settings.fit.batch_size,
            seed=settings.seed,
            oversample=True,
            share=(fabric.global_rank, fabric.world_size),
        )
        for each in sets
    )
    train = TaskBatches(parts, settings.order, settings.seed, watch.on_batch)
    with progress("Pre-training (batches)", settings.fit.epochs * len(train)) as step:
        watch.step, watch.n_batches = step, len(train)
        return fit(
            task,
            train,
            _judges(sets, settings),
            settings=settings.fit,
            seed=derive_seed(settings.seed),
            fabric=fabric,
            folder=watch.folder,
            on_epoch=watch.on_epoch if fabric.is_global_zero else lambda epoch: None,
        )


@dataclass
class _Watch:
    """Shows how far each set has come, and keeps each set's verdict of every epoch on disk beside the fit's state."""

    folder: Path
    names: tuple[str, ...]
    step: Callable[[str], None] = lambda note: None
    n_batches: int = 0  # of an epoch
    epoch: int = -1  # the last one whose batches were shown
    note: str = ""

    def on_batch(self, epoch: int, task: int) -> None:
        self.epoch = epoch
        self.step(f"epoch {epoch + 1}, {self.names[task]}{self.note}")

    def keep(self, verdicts: list[ValidationScore]) -> None:
        told = {name: asdict(verdict) for name, verdict in zip(self.names, verdicts, strict=True)}
        finite = {name: {k: v if np.isfinite(v) else None for k, v in part.items()} for name, part in told.items()}
        write_json(self._file(self.epoch), finite)

    def on_epoch(self, epoch: Epoch) -> None:
        losses = ", ".join(f"{name} {verdict['loss']:.3f}" for name, verdict in self.verdicts(epoch.epoch).items())
        self.note = f"; validation loss {epoch.val_loss:.3f} ({losses})"
        if epoch.epoch > self.epoch:  # finished before this run was started again
            for _ in range(self.n_batches):
                self.step(f"epoch {epoch.epoch + 1}{self.note}")

    def verdicts(self, epoch: int) -> dict[str, dict[str, float]]:
        """Loss and AUC of each set after an epoch."""
        told: dict[str, dict[str, float]] = json.loads(self._file(epoch).read_text(encoding="utf-8"))
        return told

    def history(self, epochs: list[Epoch]) -> pd.DataFrame:
        """One row per epoch, the sets' parts of the validation in columns ``val_loss:<task>``, ``val_auc:<task>``."""
        rows = []
        for epoch in epochs:
            parts = self.verdicts(epoch.epoch).items()
            rows.append(asdict(epoch) | {f"val_{key}:{name}": v for name, part in parts for key, v in part.items()})
        return pd.DataFrame(rows)

    def _file(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch}.json"


def _write(run: RunFolder, record: dict[str, object], settings: PretrainSettings, learnt: _Learnt) -> None:
    """Predictions of each set's validation patients, metrics and history; the backbone last."""
    sets, task, result, watch, fabric = learnt.sets, learnt.task, learnt.result, learnt.watch, learnt.fabric
    with fabric.autocast():
        said = task.predict(_judges(sets, settings), fabric.device)
    metrics = {}
    for each, who in zip(sets, said, strict=True):
        folds = np.zeros(len(who.patients))
        predictions = predictions_from_logits(each.cohort.classes, who.patients, folds, who.labels, who.logits)
        write_predictions(run.task(each.cohort.name) / run.predictions.name, predictions)
        metrics[each.cohort.name] = describe(predictions)
    write_json(run.metrics, metrics)
    write_parquet(run.history, watch.history(result.history))
    seconds = sum(epoch.seconds for epoch in result.history)
    record["fit"] = {
        "seconds": round(seconds, 2),
        "pictures_per_second": round(sum(epoch.pictures for epoch in result.history) / seconds, 1),
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "precision": precision_of(fabric),
        "patients": {each.cohort.name: [len(each.training), len(each.validation)] for each in sets},
    }
    write_json(run.record, record)
    tensors = {
        name: t.detach().cpu().contiguous() for name, t in result.weights.items() if name.startswith(BACKBONE_PREFIX)
    }
    described = {"pretraining": settings.model_dump_json()}
    write_atomically(run.backbone, lambda temporary: save_file(tensors, temporary, described))
    for state in watch.folder.iterdir():
        state.unlink()
    watch.folder.rmdir()
