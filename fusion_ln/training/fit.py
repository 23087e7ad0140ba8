"""The only training loop: fits one task, keeps its best epoch, and goes on where a stopped one wrote its state."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from fusion_ln.compute.memory import memory_named
from fusion_ln.compute.shards import in_shards
from fusion_ln.errors import DivergedError
from fusion_ln.models.backbones import memory_layout
from fusion_ln.settings.training import LoopSettings
from fusion_ln.training.optimizer import Rests, build_optimizer, build_schedule, drop_gradients, resting
from fusion_ln.training.recorded import recorded_passes
from fusion_ln.training.state import Epoch, FitState, best_epoch, termination_held_back
from fusion_ln.training.tasks import BatchLoader, Labelled, Task, ValidationScore

B = TypeVar("B", bound=Labelled)


@dataclass(frozen=True)
class FitResult:
    """The history of a fit and the weights of its best epoch."""

    history: list[Epoch]
    weights: dict[str, Tensor]

    @property
    def best_epoch(self) -> int:
        return best_epoch(self.history)


def derive_seed(*parts: int) -> int:
    """Derive one seed from several numbers (seed, fold, epoch, ...), unrelated to that of any other combination."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def fit(
    task: Task[B],
    train: BatchLoader[B],
    val: BatchLoader[B] | None,
    *,
    settings: LoopSettings,
    seed: int,
    fabric: Fabric,
    folder: Path,
    name: str = "",
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    lr_scale: Mapping[str, float] = MappingProxyType({}),
    accumulate: int = 1,
    stop: int | None = None,
    rests: Rests | None = None,
    shards: int = 1,
) -> FitResult:
    """Train one task and keep the weights of its best epoch.

    ``val`` is inner validation: the held-out fold never enters here, so the choice of epoch cannot flatter the
    result. All randomness of an epoch follows from ``seed`` and its number, and ``folder`` keeps the state of
    an epoch: started again after an interruption the fit goes on from there, to the same weights. The state is
    written every `STATE_SECONDS`, and after the epoch in which the fit is told to end (SIGTERM, Ctrl-C of a worker).
    A state that is damaged, or of a fit with another ``name``, seed or settings, is not used: the fit starts anew.
    ``on_epoch`` may raise (pruning does); it is also called for epochs that were found finished. Parameters whose
    names begin with a key of ``lr_scale`` learn at that multiple of the rate. A step follows ``accumulate`` batches.
    Without ``val``, as in a refit, the weights are those of the last epoch, after ``stop`` epochs. What ``rests``
    stays as it is in the first epochs. Batches are computed in ``shards``, see `in_shards`.

    Raises:
        DivergedError: If a loss is not finite; names the patients of the batch.
        SettingsError: If the memory of the device does not hold a batch.
        RunError: If the state cannot be written, or a device that does not compute the same twice was interrupted.
    """
    held = partial(memory_named, name or "Training", settings.batch_size)
    share_batch_norms(task.model, fabric)
    with held():
        model, optimizer = fabric.setup(
            task.model.to(memory_format=memory_layout(task.model)), build_optimizer(task.model, settings, lr_scale)
        )
    schedule = build_schedule(optimizer, settings, -(-len(train) // accumulate))
    fit_id = {"name": name, "seed": seed, "settings": settings.model_dump(mode="json")}
    state = FitState(folder, fit_id, task.model, optimizer, schedule)
    history = state.resume()
    for epoch in history:
        on_epoch(epoch)
    epochs = settings.epochs if stop is None else stop
    record = fabric.world_size == accumulate == shards == 1 and rests is None
    with (
        termination_held_back() as asked_to_end,
        recorded_passes(task.model, wanted=record),
        in_shards(model, task.model, fabric, shards) as learner,
    ):
        while len(history) < epochs and len(history) <= _best_or_start(history) + settings.patience:
            started, number = time.monotonic(), len(history)
            torch.manual_seed(derive_seed(seed, number, fabric.global_rank))
            with held():
                part = rests.part if rests and number < rests.epochs else None
                train_loss = train_epoch(
                    task, learner, train.shuffled(number), optimizer, schedule, fabric, accumulate, part
                )
                score = _validate(task, val, fabric) if val is not None else ValidationScore(math.nan, math.nan)
            history.append(
                Epoch(
                    epoch=number,
                    train_loss=train_loss,
                    val_loss=score.loss,
                    val_auc=score.auc,
                    lr=optimizer.param_groups[0]["lr"],
                    pictures=len(train) * train.batch_size,
                    seconds=time.monotonic() - started,
                )
            )
            if fabric.is_global_zero:
                state.keep(history)
            try:
                on_epoch(history[-1])
                if asked_to_end():
                    raise KeyboardInterrupt
            except KeyboardInterrupt:
                if fabric.is_global_zero:
                    state.write(history)
                raise
    weights = state.best_weights(history) if fabric.is_global_zero else None
    if fabric.world_size > 1:
        weights = fabric.broadcast(weights)
    assert weights is not None
    return FitResult(history, weights)


def share_batch_norms(model: nn.Module, fabric: Fabric) -> None:
    """Let the batch norms of a model that several GPUs fit see the whole batch; torch has no such layers for a CPU."""
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        from timm.layers import convert_sync_batchnorm  # not before `library` imports timm without torch's compiler

        convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]


def _best_or_start(history: list[Epoch]) -> int:
    return best_epoch(history) if history else 0


def train_epoch(
    task: Task[B],
    model: nn.Module,
    batches: Iterator[B],
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler | None,
    fabric: Fabric,
    accumulate: int = 1,
    resting_part: nn.Module | None = None,
) -> float:
    """Train for one pass over the training part and return the mean loss of its batches."""
    model.train()
    losses, patients = [], []
    with resting(resting_part, alone=fabric.world_size == 1):
        while group := list(islice(batches, accumulate)):
            optimizer.zero_grad()
            for batch in group:
                loss = task.loss(model, batch, fabric.device)
                fabric.backward(loss / len(group))
                losses.append(loss.detach())
                patients.append(batch.patients)
            drop_gradients(resting_part)
            optimizer.step()
            if schedule is not None:
                schedule.step()
    # One wait for the device per epoch, not per batch. The mean over the processes of a fit is the loss of the batch.
    shared = fabric.all_reduce(torch.stack(losses), reduce_op="mean")
    assert isinstance(shared, Tensor)
    losses_on_host = shared.cpu()
    if not losses_on_host.isfinite().all():
        first = int((~losses_on_host.isfinite()).nonzero()[0])
        shares = [fabric.broadcast(patients[first].tolist(), src=rank) for rank in range(fabric.world_size)]
        raise DivergedError(
            f"The loss became {float(losses_on_host[first])} at batch {first + 1} of {len(losses)}, "
            f"with the patients {', '.join(sorted({str(patient) for share in shares for patient in share}))}.",
            "Lower the rate (`--lr`), or look at these patients' pictures (`fusionln cohort check`).",
        )
    return float(losses_on_host.double().mean())


def _validate(task: Task[B], val: BatchLoader[B], fabric: Fabric) -> ValidationScore:
    """Validate on the first device alone: every patient counts once, and all devices get the same score."""
    score = None
    if fabric.is_global_zero:
        with fabric.autocast():
            score = task.validate(val, fabric.device)
    if fabric.world_size > 1:
        score = fabric.broadcast(score)
    assert score is not None
    if not np.isfinite(score.loss):
        raise DivergedError("The validation loss is no longer a finite number.", "Lower the rate (`--lr`).")
    return score
