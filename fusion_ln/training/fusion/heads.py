"""Fits of fusion heads on the tokens of a fold's own baselines."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric

from fusion_ln.cohort.clinical import ClinicalColumn, standardise
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.compute.threads import fixed_threads
from fusion_ln.models.fusion.base import HeadEnsemble, TripletShape
from fusion_ln.models.rehearsal import common_tokens
from fusion_ln.records.kinds import TrainedFusionRecord
from fusion_ln.records.origin import new_origin
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import HeadSettings, TokenSettings, TrainedFusionSettings
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.terms import LABEL, PATIENT
from fusion_ln.training.fit import derive_seed, fit
from fusion_ln.training.fusion.task import FittedFusion, FusionTask, PatientBatches
from fusion_ln.training.fusion.tokens import TokenBank, picture_tokens, token_bank
from fusion_ln.training.state import Epoch

STATES = "states"  # folder of a fold in which its unfinished fits keep theirs


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
