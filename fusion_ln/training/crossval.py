"""Cross-validation: one fit per outer fold, and out-of-fold predictions."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from lightning_fabric import Fabric

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import load_cohort
from fusion_ln.compute.device import accelerator_of
from fusion_ln.compute.fabric import make_fabric, precision_of
from fusion_ln.compute.job import Movable, OnEpoch
from fusion_ln.images.bank import ImageBank, open_bank
from fusion_ln.images.batches import Batches
from fusion_ln.models.checkpoint import Checkpoint, save_checkpoint
from fusion_ln.models.classifier import Classifier, build_classifier
from fusion_ln.models.precision import suited_precision
from fusion_ln.models.rehearsal import training_memory
from fusion_ln.models.weights.network import Network
from fusion_ln.progress import say
from fusion_ln.records.kinds import BaselineRecord
from fusion_ln.records.origin import new_origin
from fusion_ln.records.parts import UnitCounts
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import BaselineSettings, FitSettings, Precision
from fusion_ln.training.fit import FitResult, derive_seed, fit
from fusion_ln.training.fold_files import FOLD_RECORD, begun_precision, clear_states, write_fold
from fusion_ln.training.optimizer import layer_rates, resting_backbone
from fusion_ln.training.parts import CROSS_PARTS, check_patients, training_parts
from fusion_ln.training.state import Epoch
from fusion_ln.training.tasks import PatientLogits, PictureTask


@dataclass(frozen=True)
class FoldJob(Movable):
    """One fit: everything that a process needs to know to do it on its own.

    Attributes:
        part: Part of the training patients that this fit must not see either; None: it is the fold's own.
        stop: Number of epochs of a refit, whose fold is the one after the last; None: inner validation tells.
    """

    cohort: Path
    settings: BaselineSettings
    folder: RunFolder
    fold: int
    part: int | None = None
    stop: int | None = None

    @property
    def run(self) -> Path:
        return self.folder.root

    @property
    def precision(self) -> Precision:
        """Precision of the setting or, where it slows the network down, of the finished folds; else float32."""
        fit, accelerator = self.settings.fit, accelerator_of(self.device)
        suited = suited_precision(fit.precision, [fit], accelerator)
        return suited if suited == fit.precision else begun_precision(self.folder) or suited

    @property
    def memory(self) -> int:
        return training_memory(self.settings.fit, len(read_cohort(self.cohort).images_of(self.settings.modality)))

    @property
    def epochs(self) -> int:
        return self.settings.fit.epochs if self.stop is None else self.stop

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.cohort / "cohort.toml", self.folder.record)

    @property
    def checkpoint(self) -> Path:
        """File of the trained network."""
        whole = self.folder.checkpoint(self.fold)
        return whole if self.part is None else self.folder.cross_checkpoint(self.fold, self.part)

    def execute(self, on_epoch: OnEpoch) -> None:
        """Fit the fold; see `run_fold`."""
        run_fold(self, make_fabric(self.device, self.precision), lambda epoch: on_epoch(epoch.epoch, str(epoch)))

    def __str__(self) -> str:
        part = "" if self.part is None else f" without part {self.part}"
        return f"{self.settings.modality}, {'refit' if self.stop is not None else f'fold {self.fold}'}{part}"

    @property
    def finished(self) -> bool:
        if self.part is None and self.stop is None:
            return (self.folder.fold(self.fold) / FOLD_RECORD).is_file()
        return self.checkpoint.is_file()


def begin(cohort: Cohort, settings: BaselineSettings, run: RunFolder, device: DeviceSettings) -> list[FoldJob]:
    """Claim the run folder, prepare the pictures, and list the fits that are still to be done.

    Patients without the modality are left out; their number is recorded and printed. The ``paper`` protocol
    differs in one thing alone: the held-out patients stop the training, as in Jiang et al. 2025. So the gap between
    the protocols is the optimism of that choice.

    Raises:
        CohortError: If the modality is absent, a class has no patient with it in some training part, or two patients
            have the same picture.
        RunError: If the folder holds another run, or cannot be written.
    """
    record = new_baseline_record(cohort, settings)
    check_patients(cohort, settings.modality)
    open_bank(cohort, settings.modality, settings.fit.image_size)
    if run.claim(record) and run.finished:
        say(f"{run.root}: already there, with these settings; kept.")
        return []
    if record.units and (skipped := record.units.skipped):
        say(f"{run.name}: {skipped} of {len(cohort.patients)} patients have no {settings.modality} picture; left out.")
    jobs = [FoldJob(cohort.root, settings, run, fold, device=device) for fold in range(cohort.n_folds)]
    return unfinished_fits(jobs)


def new_baseline_record(cohort: Cohort, settings: BaselineSettings) -> BaselineRecord:
    """Describe a baseline that begins now."""
    with_modality = len(cohort.patients_with(settings.modality))
    return BaselineRecord(
        settings=settings,
        cohort=cohort.describe(),
        cohort_path=str(cohort.root.resolve()),
        units=UnitCounts(predicted=with_modality, skipped=len(cohort.patients) - with_modality),
        **new_origin(),
    )


def cross_fit_jobs(cohort: Cohort, settings: BaselineSettings, run: RunFolder, device: DeviceSettings) -> list[FoldJob]:
    """List the unfinished fits that give each training patient of a finished baseline a network that never saw it.

    Raises:
        CohortError: If a training part has fewer patients of a class than there are parts.
    """
    pairs = [(fold, part) for fold in range(cohort.n_folds) for part in range(CROSS_PARTS)]
    for fold in range(cohort.n_folds):
        training_parts(cohort, fold)
    jobs = [FoldJob(cohort.root, settings, run, fold, part, device=device) for fold, part in pairs]
    return unfinished_fits(jobs)


def unfinished_fits(jobs: list[FoldJob]) -> list[FoldJob]:
    """Select the unfinished fits; of the others the states go, which a killed process may have left."""
    for job in jobs:
        if job.finished:
            clear_states(job.checkpoint.parent)
    return [job for job in jobs if not job.finished]


def run_fold(job: FoldJob, fabric: Fabric, on_epoch: Callable[[Epoch], None]) -> None:
    """Fit one fold, predict its held-out and its inner validation patients, and write both.

    Of a refit, or a fit that leaves out a part of the training patients, only the network is kept.

    Raises:
        DivergedError: If a loss stops being a number.
        RunError: If the folder cannot be written, or the cohort or its folds changed since the run began.
    """
    cohort = read_cohort(job.cohort)
    if job.folder.record.is_file():  # a study's trials have none
        job.folder.check_cohort(cohort.describe())
    number, folder = job.fold, job.checkpoint.parent
    settings = job.settings.model_copy(update={"fit": job.settings.fit.of_fold(number)})
    fitted = fit_fold(cohort, settings, number, fabric, folder, on_epoch, part=job.part, stop=job.stop)
    if fabric.is_global_zero:
        described = Checkpoint(settings, cohort.classes, number)
        save_checkpoint(job.checkpoint, fitted.result.weights, described, fitted.network)
    if fabric.is_global_zero and (job.part is not None or job.stop is not None):
        clear_states(folder)
    elif fabric.is_global_zero:
        parts = (cohort.held_out(number), cohort.training_part(number)[1])
        predicted = [fitted.predict(patients, fabric) for patients in parts]
        write_fold(folder, cohort.classes, number, predicted, fitted.result, precision_of(fabric))
    fabric.barrier()


@dataclass(frozen=True)
class FittedFold:
    """A fold's network with the weights of its best epoch."""

    task: PictureTask
    bank: ImageBank
    settings: FitSettings
    result: FitResult

    @property
    def network(self) -> Network | None:
        """Network that the first weights brought along; None: its name says all."""
        model = self.task.model
        return model.backbone.network if isinstance(model, Classifier) else None

    def predict(self, patients: list[str], fabric: Fabric) -> PatientLogits:
        """Predict the logits of those of ``patients`` who have a picture."""
        rows, size = self.bank.rows_of(patients), self.settings.batch_size
        batches = Batches(self.bank, rows, size, device=fabric.device)
        with fabric.autocast():
            return self.task.predict(batches, fabric.device)


def fit_fold(
    cohort: Cohort,
    settings: BaselineSettings,
    number: int,
    fabric: Fabric,
    folder: Path,
    on_epoch: Callable[[Epoch], None],
    *,
    part: int | None = None,
    stop: int | None = None,
) -> FittedFold:
    """Fit one fold, with its state in ``folder``; the held-out patients enter under the ``paper`` protocol alone.

    With a ``part`` the fit leaves out that one of `training_parts`; with ``stop`` it ends after so many epochs.

    Raises:
        DivergedError: If a loss stops being a number.
    """
    bank = open_bank(cohort, settings.modality, settings.fit.image_size)
    training, inner = cohort.training_part(number)
    size, seed = settings.fit.batch_size, derive_seed(settings.seed, number)
    if part is not None:
        unseen = set(training_parts(cohort, number)[part])
        training = [patient for patient in training if patient not in unseen]
    share = (fabric.global_rank, fabric.world_size)
    validation = cohort.held_out(number) if settings.protocol == "paper" else inner
    torch.manual_seed(seed)  # the first weights
    model = build_classifier(settings.fit, len(cohort.classes))
    task = PictureTask(settings.modality, model, settings.fit.augmentation, settings.fit.label_smoothing)
    result = fit(
        task,
        Batches(bank, bank.rows_of(training), size, seed, oversample=True, share=share, device=fabric.device),
        Batches(bank, bank.rows_of(validation), size, device=fabric.device) if stop is None else None,
        settings=settings.fit,
        seed=seed,
        fabric=fabric,
        folder=folder,
        name=f"{settings.modality}, fold {number}" + ("" if part is None else f" without part {part}"),
        on_epoch=on_epoch,
        stop=stop,
        lr_scale=layer_rates(model.backbone, settings.fit),
        rests=resting_backbone(model.backbone, settings.fit),
    )
    task.model.load_state_dict(result.weights)
    return FittedFold(task, bank, settings.fit, result)


@lru_cache(maxsize=1)
def _read_cohort(folder: Path, written: int) -> Cohort:
    return load_cohort(folder)


def read_cohort(folder: Path) -> Cohort:
    """Read a cohort once per process, as long as its file does not change."""
    return _read_cohort(folder, (folder / "cohort.toml").stat().st_mtime_ns)
