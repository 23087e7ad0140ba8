"""Training of fusion heads on finished baselines, fold by fold, for every subset of the modalities."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from lightning_fabric import Fabric

from fusion_ln.cohort.clinical import ClinicalColumn, learn_columns, standardise
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.compute.device import accelerator_of, fixed_threads, make_fabric, precision_of
from fusion_ln.evaluation.folds import describe_folds
from fusion_ln.files.formats import write_json, write_parquet
from fusion_ln.models.checkpoint import load_member, save_head
from fusion_ln.models.fusion.base import HeadEnsemble, TripletShape
from fusion_ln.models.precision import suited_precision
from fusion_ln.models.rehearsal import common_tokens
from fusion_ln.models.triplet import assemble
from fusion_ln.predictions import Predictions, join_tables, read_predictions, write_predictions
from fusion_ln.progress import progress
from fusion_ln.records.kinds import TrainedFusionRecord
from fusion_ln.records.origin import new_origin
from fusion_ln.records.parts import FoldRecord, UnitCounts
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.fusion import HeadSettings, TokenSettings, TrainedFusionSettings
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.terms import LABEL, MODALITIES_USED, PATIENT, subsets
from fusion_ln.training.fit import derive_seed, fit
from fusion_ln.training.fold_files import epoch_table, fold_record
from fusion_ln.training.fusion.finetune import finetune, peak_memory_mib
from fusion_ln.training.fusion.late import finished_baseline
from fusion_ln.training.fusion.task import FittedFusion, FusionTask, PatientBatches
from fusion_ln.training.fusion.tokens import TokenBank, picture_tokens, token_bank
from fusion_ln.training.state import Epoch

STATES = "states"  # folder of a fold in which its unfinished fits keep theirs


@dataclass(frozen=True)
class FoldResult:
    """Rows of a fold in the run's tables."""

    held_out: pd.DataFrame
    inner: pd.DataFrame
    subsets: pd.DataFrame
    inner_subsets: pd.DataFrame
    history: pd.DataFrame
    record: FoldRecord


def train_head(
    cohort: Cohort,
    members: list[RunFolder],
    settings: HeadSettings,
    run: RunFolder,
    *,
    seed: int,
    device: DeviceSettings,
) -> Predictions:
    """Train a head for every outer fold on that fold's own baselines, and write the run.

    The head learns from stored tokens; with ``settings.finetune`` the whole model then goes on learning from pictures
    (linear probing, then fine-tuning: Kumar et al. 2022, arXiv 2202.10054). Besides the out-of-fold predictions the
    run holds those from every subset of the modalities (``subset_predictions.parquet``), of the patients who have all
    of it.

    Raises:
        RunError: If a member is not a finished baseline of this cohort and folds, or ``run`` is another run.
        CohortError: If a clinical column is missing, constant, or not a number.
        SettingsError: If the members' networks do not fit together under one head.
    """
    baselines = {member: finished_baseline(cohort, member) for member in members}
    clinical = [learn_columns(cohort, settings.clinical, number) for number in range(cohort.n_folds)]
    record = new_head_record(cohort, baselines, settings, run, seed=seed)
    if run.claim(record) and run.finished:
        _clear_states(run, cohort.n_folds)  # if it was killed after its last file
        return read_predictions(run.predictions)
    folds = []
    with progress(run.name, cohort.n_folds) as step, fixed_threads(cohort.n_folds):
        for number in range(cohort.n_folds):
            by_modality = {baseline.modality: member for member, baseline in baselines.items()}
            fold_settings, columns = settings.of_fold(number), clinical[number]
            folds.append(
                _train_fold(cohort, by_modality, fold_settings, run, number, columns, seed=seed, device=device)
            )
            step("")
    predictions = join_tables(cohort.classes, [f.held_out for f in folds])
    predicted = len(predictions.table)
    counts = UnitCounts(predicted=predicted, skipped=len(cohort.patients) - predicted)
    run.write_record(record.model_copy(update={"folds": tuple(f.record for f in folds), "units": counts}))
    write_parquet(run.history, pd.concat([f.history for f in folds]))
    write_parquet(run.subset_predictions, pd.concat([f.subsets for f in folds]))
    write_parquet(run.inner_subset_predictions, pd.concat([f.inner_subsets for f in folds]))
    write_predictions(run.inner_predictions, Predictions(cohort.classes, pd.concat([f.inner for f in folds])))
    write_json(run.metrics, describe_folds(predictions, cohort.patients[PATIENT]))
    write_predictions(run.predictions, predictions)
    _clear_states(run, cohort.n_folds)
    return predictions


def new_head_record(
    cohort: Cohort,
    baselines: Mapping[RunFolder, BaselineSettings],
    settings: HeadSettings,
    run: RunFolder,
    *,
    seed: int,
) -> TrainedFusionRecord:
    """Describe a fusion with a trained head that begins now, or will once its baselines are trained."""
    members = {baseline.modality: baseline for baseline in baselines.values()}
    return TrainedFusionRecord(
        settings=TrainedFusionSettings(head=settings.head, members=members, training=settings, seed=seed),
        cohort=cohort.describe(),
        cohort_path=str(cohort.root.resolve()),
        members=tuple(os.path.relpath(member.root, run.root) for member in baselines),
        **new_origin(),
    )


def _clear_states(run: RunFolder, n_folds: int) -> None:
    for number in range(n_folds):
        shutil.rmtree(run.fold(number) / STATES, ignore_errors=True)


def fold_tokens(
    cohort: Cohort,
    members: list[RunFolder],
    settings: TokenSettings,
    fold: int,
    columns: Sequence[ClinicalColumn],
    device: torch.device,
) -> TokenBank:
    """Gather tokens and clinical columns of all patients, from a fold's baselines.

    Raises:
        SettingsError: If the networks' tokens differ in number or width, or see `picture_tokens`.
    """
    with fixed_threads(cohort.n_folds):
        pictures = [picture_tokens(cohort, member, fold, settings, device) for member in members]
    common_tokens({member.name: p.tokens.shape[2:] for member, p in zip(members, pictures, strict=True)})
    labels = cohort.patients.set_index(PATIENT)[LABEL]
    return token_bank(pictures, labels, standardise(cohort.patients, columns))


def fit_head(
    cohort: Cohort,
    bank: TokenBank,
    settings: HeadSettings,
    number: int,
    *,
    seed: int,
    fabric: Fabric,
    folder: Path,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    stop: int | None = None,
) -> FittedFusion:
    """Fit the heads of one fold on stored tokens; of several, the history is the first one's.

    Args:
        bank: See `fold_tokens`.
        number: The fold; its held-out patients are not looked at.
        seed: Of the run.
        folder: For the state of an interrupted fit.
        on_epoch, stop: See `fit`.
    """
    shape = TripletShape(
        n_modalities=len(bank.pictures),
        n_features=bank.pictures[0].tokens.shape[-1],
        n_classes=len(cohort.classes),
        n_clinical=bank.clinical.shape[1],
    )
    torch.manual_seed(derive_seed(seed, number))
    heads, results = HeadEnsemble(settings, shape), []
    for member, head in enumerate(heads.heads):
        head_seed = derive_seed(seed, number, member)
        training, inner = (
            PatientBatches(bank, bank.of(patients), settings.batch_size, head_seed)
            for patients in cohort.training_part(number)
        )
        task = FusionTask(head, settings.modality_dropout, settings.auxiliary)
        results.append(
            fit(
                task,
                training,
                inner if stop is None else None,
                settings=settings,
                seed=head_seed,
                fabric=fabric,
                folder=folder / f"head_{member}",
                name=f"{settings.head} {member}, fold {number}",
                on_epoch=on_epoch,
                stop=stop,
            )
        )
        head.load_state_dict(results[-1].weights)
    return FittedFusion(FusionTask(heads), bank, results[0])


def _train_fold(
    cohort: Cohort,
    members: dict[str, RunFolder],
    settings: HeadSettings,
    run: RunFolder,
    number: int,
    columns: tuple[ClinicalColumn, ...],
    *,
    seed: int,
    device: DeviceSettings,
) -> FoldResult:
    """Fit the head of one fold and, if set, its whole model; keep the weights and predict the patients.

    ``members`` are the baselines by modality.
    """
    states = run.fold(number) / STATES
    fabric = make_fabric(device, "32-true")
    tokens = fold_tokens(cohort, list(members.values()), settings, number, columns, fabric.device)
    fitted = fit_head(cohort, tokens, settings, number, seed=seed, fabric=fabric, folder=states)
    heads, batch_size, finetuning = fitted.task.model, settings.batch_size, settings.finetune
    assert isinstance(heads, HeadEnsemble)
    if finetuning:
        loaded = [load_member(member, number) for member in members.values()]
        networks = [checkpoint.settings.fit for _, checkpoint in loaded]
        precision = suited_precision(finetuning.precision, networks, accelerator_of(device))
        fabric, batch_size = make_fabric(device, precision), finetuning.batch_size
        fitted = finetune(
            cohort,
            assemble(loaded, heads, columns, settings),
            settings,
            finetuning,
            number,
            augmentation={c.settings.modality: c.settings.fit.augmentation for _, c in loaded},
            seed=seed,
            fabric=fabric,
            folder=states / "whole",
        )
    weights = fitted.task.model.state_dict()
    save_head(run.checkpoint(number), weights, settings, heads.shape, columns, fold=number)

    def predict(patients: list[str], modalities: Sequence[bool] | None = None) -> pd.DataFrame:
        batches = PatientBatches(fitted.bank, fitted.bank.of(patients), batch_size)
        with fabric.autocast():
            logits = fitted.task.predict(batches, fabric.device, modalities)
        return logits.of_fold(cohort.classes, number).table

    def predict_subsets(patients: list[str]) -> pd.DataFrame:
        return pd.concat(
            predict(patients, [m in subset for m in members]).assign(**{MODALITIES_USED: name})
            for name, subset in subsets(list(members)).items()
        )

    held_out, inner = cohort.held_out(number), cohort.training_part(number)[1]
    return FoldResult(
        held_out=predict(held_out),
        inner=predict(inner),
        subsets=predict_subsets(held_out),
        inner_subsets=predict_subsets(inner),
        history=epoch_table(number, fitted.result),
        record=fold_record(number, fitted.result, precision_of(fabric), peak_memory_mib=peak_memory_mib(fabric.device)),
    )
