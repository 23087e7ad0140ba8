"""Trained heads of a fusion as jobs, a fold each, so that all cores train them."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pandas as pd
from lightning_fabric import Fabric

from fusion_ln.cohort.clinical import learn_columns
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.compute.engines import run_jobs
from fusion_ln.compute.fabric import make_fabric, precision_of
from fusion_ln.compute.job import Job, Movable, OnEpoch
from fusion_ln.compute.threads import fixed_threads
from fusion_ln.files.locks import locked
from fusion_ln.models.checkpoint import load_member, save_head
from fusion_ln.models.fusion.base import HeadEnsemble
from fusion_ln.models.precision import suited_precision
from fusion_ln.models.triplet import assemble
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.terms import MODALITIES_USED, PATIENT, subsets
from fusion_ln.training.crossval import read_cohort
from fusion_ln.training.fold_files import FOLD_RECORD, finish, write_fold
from fusion_ln.training.fusion.finetune import finetune, peak_memory_mib
from fusion_ln.training.fusion.heads import STATES, fit_head, fold_tokens, new_head_record
from fusion_ln.training.fusion.late import finished_baseline
from fusion_ln.training.fusion.task import FittedFusion, PatientBatches
from fusion_ln.training.fusion.token_job import token_jobs
from fusion_ln.training.state import Epoch
from fusion_ln.training.tasks import PatientLogits


@dataclass(frozen=True)
class HeadJob(Movable):
    """Head of one fold, on that fold's own baselines.

    The head learns from stored tokens; with ``settings.finetune`` the whole model then goes on learning from pictures
    (linear probing, then fine-tuning: Kumar et al. 2022, arXiv 2202.10054), in a precision of its own.
    """

    cohort: Path
    members: tuple[RunFolder, ...]
    settings: HeadSettings
    folder: RunFolder
    fold: int
    seed: int

    def __str__(self) -> str:
        return f"{self.folder.name}, fold {self.fold}"

    @property
    def run(self) -> Path:
        return self.folder.root

    @property
    def epochs(self) -> int:
        tuned = self.settings.finetune
        return self.settings.epochs * self.settings.ensemble_size + (tuned.epochs if tuned else 0)

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.cohort / "cohort.toml", self.folder.record, *(member.record for member in self.members))

    @property
    def finished(self) -> bool:
        return (self.folder.fold(self.fold) / FOLD_RECORD).is_file()

    @property
    def states(self) -> Path:
        """Folder in which the unfinished fits of the fold keep theirs."""
        return self.folder.fold(self.fold) / STATES

    def execute(self, on_epoch: OnEpoch) -> None:
        """Fit the head and, if set, the whole model; write the weights, and what they predict for the patients."""
        fabric = make_fabric(self.device, "32-true")
        cohort, number = read_cohort(self.cohort), self.fold
        self.folder.check_cohort(cohort.describe())
        settings, numbers = self.settings.of_fold(number), count()
        columns = learn_columns(cohort, settings.clinical, number)

        def report(epoch: Epoch) -> None:
            on_epoch(next(numbers), str(epoch))

        with fixed_threads(cohort.n_folds):
            tokens = fold_tokens(cohort, list(self.members), settings, number, columns, fabric.device)
            fitted = fit_head(
                cohort, tokens, settings, number, seed=self.seed, fabric=fabric, folder=self.states, on_epoch=report
            )
            heads, tuned = fitted.task.model, settings.finetune
            assert isinstance(heads, HeadEnsemble)
            if tuned:
                loaded = [load_member(member, number) for member in self.members]
                precision = suited_precision(tuned.precision, [c.settings.fit for _, c in loaded], fabric.device.type)
                fabric = make_fabric(self.device, precision)
                fitted = finetune(
                    cohort,
                    assemble(loaded, heads, columns, settings),
                    settings,
                    tuned,
                    number,
                    augmentation={c.settings.modality: c.settings.fit.augmentation for _, c in loaded},
                    seed=self.seed,
                    fabric=fabric,
                    folder=self.states / "whole",
                    on_epoch=report,
                )
            weights = fitted.task.model.state_dict()
            save_head(self.folder.checkpoint(number), weights, settings, heads.shape, columns, fold=number)
            self._write(cohort, fitted, fabric, (tuned or settings).batch_size)
        shutil.rmtree(self.states, ignore_errors=True)

    def _write(self, cohort: Cohort, fitted: FittedFusion, fabric: Fabric, batch_size: int) -> None:
        """Predict the held-out and the inner validation patients, from every subset of the modalities too."""
        modalities = [finished_baseline(cohort, member).modality for member in self.members]

        def predict(patients: list[str], chosen: Sequence[bool] | None = None) -> PatientLogits:
            batches = PatientBatches(fitted.bank, fitted.bank.of(patients), batch_size)
            with fabric.autocast():
                return fitted.task.predict(batches, fabric.device, chosen)

        def predict_subsets(patients: list[str]) -> pd.DataFrame:
            return pd.concat(
                predict(patients, [modality in subset for modality in modalities])
                .of_fold(cohort.classes, self.fold)
                .table.assign(**{MODALITIES_USED: name})
                for name, subset in subsets(modalities).items()
            )

        parts = (cohort.held_out(self.fold), cohort.training_part(self.fold)[1])
        write_fold(
            self.folder.fold(self.fold),
            cohort.classes,
            self.fold,
            [predict(patients) for patients in parts],
            fitted.result,
            precision_of(fabric),
            of_subsets=[predict_subsets(patients) for patients in parts],
            peak_memory_mib=peak_memory_mib(fabric.device),
        )


def train_heads(
    cohort: Cohort,
    members: list[RunFolder],
    heads: Mapping[RunFolder, HeadSettings],
    *,
    seed: int,
    device: DeviceSettings,
) -> None:
    """Train heads for every outer fold on that fold's own baselines, and write their runs; finished ones are kept.

    Besides the out-of-fold predictions a run holds those from every subset of the modalities
    (``subset_predictions.parquet``), of the patients who have all of it.

    Raises:
        RunError: If a member is not a finished baseline of this cohort and folds, or a folder holds another run.
        CohortError: If a clinical column is missing, constant, or not a number.
        SettingsError: If the members' networks do not fit together under one head.
    """
    with locked(*(run.lock for run in heads)):
        left = {run: _begin(cohort, members, each, run, seed=seed, device=device) for run, each in heads.items()}
        modalities = {member: finished_baseline(cohort, member).modality for member in members}
        tokens = token_jobs(cohort, modalities, [heads[run] for run, jobs in left.items() if jobs], device)
        jobs = sorted((job for each in left.values() for job in each), key=lambda job: job.fold)
        title = f"{len(heads)} trained heads" if len(heads) > 1 else next(iter(heads)).name
        both: list[Job] = [*tokens, *jobs]
        run_jobs(both, shares=cohort.n_folds, title=title)
        for run in heads:
            finish(run, cohort.patients[PATIENT])


def _begin(
    cohort: Cohort,
    members: list[RunFolder],
    settings: HeadSettings,
    run: RunFolder,
    *,
    seed: int,
    device: DeviceSettings,
) -> list[HeadJob]:
    """Claim the folder of a run, and list the folds that are still to be done."""
    baselines = {member: finished_baseline(cohort, member) for member in members}
    for number in range(cohort.n_folds):
        learn_columns(cohort, settings.clinical, number)
    run.claim(new_head_record(cohort, baselines, settings, run, seed=seed))
    left = []
    for number in range(cohort.n_folds):
        job = HeadJob(cohort.root, tuple(members), settings, run, number, seed, device=device.one_device)
        if run.finished or job.finished:
            shutil.rmtree(job.states, ignore_errors=True)  # if it was killed after its last file
        else:
            left.append(job)
    return left
