"""Training of a whole model, networks and head, from the pictures of triplets."""

import resource
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from fusion_ln.cohort.clinical import standardise
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.images.bank import open_bank
from fusion_ln.images.patients import gather_pictures
from fusion_ln.models.triplet import TripletModel
from fusion_ln.settings.fusion import FinetuneSettings, HeadSettings
from fusion_ln.training.fit import derive_seed, fit
from fusion_ln.training.fusion.task import FittedFusion, FusionTask, PatientBatches
from fusion_ln.training.state import Epoch


def finetune(
    cohort: Cohort,
    model: TripletModel,
    settings: HeadSettings,
    finetuning: FinetuneSettings,
    number: int,
    *,
    augmentation: Mapping[str, float],
    seed: int,
    fabric: Fabric,
    folder: Path,
    on_epoch: Callable[[Epoch], None],
) -> FittedFusion:
    """Train all of a fold's model, its backbones at a fraction of the head's learning rate.

    Args:
        model: The fold's baselines under its head, which was trained on their tokens.
        settings: Of the head.
        finetuning: Of the fine-tuning.
        number: The fold; its held-out patients are not looked at.
        augmentation: Strength by modality, as the baselines were trained with.
        folder: For the state of an interrupted fit.
        on_epoch: See `fit`.

    Raises:
        DivergedError: If a loss stops being a number.
    """
    banks = {modality: open_bank(cohort, modality, side) for modality, side in model.sides.items()}
    bank = replace(gather_pictures(banks, standardise(cohort.patients, model.columns)), augmentation=augmentation)
    training, inner = cohort.training_part(number)
    seed, share = derive_seed(seed, number), (fabric.global_rank, fabric.world_size)
    task = FusionTask(model, settings.modality_dropout, settings.auxiliary)
    result = fit(
        task,
        PatientBatches(bank, bank.of(training), finetuning.batch_size, seed, share),
        PatientBatches(bank, bank.of(inner), finetuning.batch_size),
        settings=finetuning,
        seed=seed,
        fabric=fabric,
        folder=folder,
        name=f"{settings.head} and networks, fold {number}",
        on_epoch=on_epoch,
        lr_scale={"members.": finetuning.backbone_lr_scale, "sources.": finetuning.backbone_lr_scale},
        accumulate=finetuning.accumulate,
    )
    model.load_state_dict(result.weights)
    return FittedFusion(task, bank, result)


def peak_memory_mib(device: torch.device) -> int:
    """Measure the peak memory of this process, on its GPU or, without one, in all."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
