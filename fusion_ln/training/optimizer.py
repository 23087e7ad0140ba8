"""Optimiser and schedule of a fit: rates by parameter, and a backbone that rests in the first epochs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from fusion_ln.models.backbones import Backbone
from fusion_ln.models.weights.load import BACKBONE_PREFIX
from fusion_ln.settings.training import FitSettings, LoopSettings


@dataclass(frozen=True)
class Rests:
    """Part of a model that stays as it is in the first epochs of a fit, and their number."""

    part: nn.Module
    epochs: int


def build_optimizer(model: nn.Module, settings: LoopSettings, lr_scale: Mapping[str, float]) -> torch.optim.Optimizer:
    """Build the optimiser.

    Args:
        model: The model.
        settings: Rate and decay.
        lr_scale: Multiples of the rate by a parameter's name, or by the beginning of names; all others learn at 1.
    """
    groups: dict[str, list[nn.Parameter]] = {prefix: [] for prefix in ("", *lr_scale)}
    for name, parameter in model.named_parameters():
        prefix = name if name in lr_scale else next((each for each in lr_scale if name.startswith(each)), "")
        groups[prefix].append(parameter)
    rates = [
        {"params": parameters, "lr": settings.lr * lr_scale.get(prefix, 1.0)}
        for prefix, parameters in groups.items()
        if parameters
    ]
    return torch.optim.AdamW(rates, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


def build_schedule(optimizer: Any, settings: LoopSettings, steps_per_epoch: int) -> LRScheduler | None:
    """Build the schedule: None for a constant rate, or one-cycle (Smith & Topin 2018, arXiv 1708.07120)."""
    if settings.schedule == "constant":
        return None
    rates = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer.optimizer, rates, total_steps=settings.epochs * steps_per_epoch)


@contextmanager
def resting(part: nn.Module | None, *, alone: bool) -> Iterator[None]:
    """Keep a part of the model as it is, its batch statistics too, while the context is open.

    Args:
        part: The part; None: the whole model learns.
        alone: One process fits, so that no gradient need be computed; several expect one of every parameter.
    """
    if part is not None:
        part.eval()
        part.requires_grad_(not alone)
    try:
        yield
    finally:
        if part is not None:
            part.requires_grad_(True)


def drop_gradients(part: nn.Module | None) -> None:
    """Drop the gradients of a resting part, so that the optimiser passes it over."""
    if part is not None:
        part.zero_grad(set_to_none=True)


def layer_rates(backbone: nn.Module, settings: FitSettings) -> dict[str, float]:
    """Give each parameter of a model's backbone its multiple of the rate, where it falls from layer to layer.

    Raises:
        SettingsError: See `Backbone.layer_rates`.
    """
    if settings.layer_decay == 1 or not isinstance(backbone, Backbone):
        return {}
    return {f"{BACKBONE_PREFIX}{name}": rate for name, rate in backbone.layer_rates(settings.layer_decay).items()}


def resting_backbone(backbone: nn.Module, settings: FitSettings) -> Rests | None:
    """Let the backbone rest in the first epochs, where the settings say so."""
    return Rests(backbone, settings.frozen_epochs) if settings.frozen_epochs else None
