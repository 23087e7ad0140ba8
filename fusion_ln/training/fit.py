"""The only training loop: fits one task, keeps its best epoch, and resumes from the last finished epoch."""

import math
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from fusion_ln.compute.memory import memory_named
from fusion_ln.errors import DivergedError, in_short
from fusion_ln.files.atomic import write_atomically
from fusion_ln.progress import say
from fusion_ln.settings.training import LoopSettings
from fusion_ln.training.optimizer import Rests, build_optimizer, build_schedule, drop_gradients, resting
from fusion_ln.training.tasks import BatchLoader, Labelled, Task, ValidationScore

B = TypeVar("B", bound=Labelled)


@dataclass(frozen=True)
class Epoch:
    """One epoch of a fit; ``val_`` is inner validation (the held-out fold under the ``paper`` protocol)."""

    epoch: int
    train_loss: float
    val_loss: float
    val_auc: float
    lr: float  # at its end
    pictures: int
    seconds: float

    def __str__(self) -> str:
        if math.isnan(self.val_loss):
            return f"training loss {self.train_loss:.3f}"
        return f"validation loss {self.val_loss:.3f}, AUC {self.val_auc:.3f}"


@dataclass(frozen=True)
class FitResult:
    """The history of a fit and the weights of its best epoch."""

    history: list[Epoch]
    weights: dict[str, Tensor]

    @property
    def best_epoch(self) -> int:
        return best_epoch(self.history)


def best_epoch(history: list[Epoch]) -> int:
    """Find the epoch with the lowest validation loss, the first of equals; where nobody validates, the last."""
    if math.isnan(history[-1].val_loss):
        return history[-1].epoch
    return min(history, key=lambda e: e.val_loss).epoch


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
) -> FitResult:
    """Train one task and keep the weights of its best epoch.

    ``val`` is inner validation: the held-out fold never enters here, so the choice of epoch cannot flatter the
    result. All randomness of an epoch follows from ``seed`` and its number, and ``folder`` keeps the state of
    the last finished epoch: started again after an interruption the fit goes on from there, to the same weights.
    A state that is damaged, or of a fit with another ``name``, seed or settings, is not used: the fit starts anew.
    ``on_epoch`` may raise (pruning does); it is also called for epochs that were found finished. Parameters whose
    names begin with a key of ``lr_scale`` learn at that multiple of the rate. A step follows ``accumulate`` batches.
    Without ``val``, as in a refit, the weights are those of the last epoch, after ``stop`` epochs. What ``rests``
    stays as it is in the first epochs.

    Raises:
        DivergedError: If a loss is not finite; names the patients of the batch.
        SettingsError: If the memory of the device does not hold a batch.
    """
    held = partial(memory_named, name or "Training", settings.batch_size)
    with held():
        model, optimizer = fabric.setup(
            task.model.to(memory_format=torch.channels_last), build_optimizer(task.model, settings, lr_scale)
        )
    schedule = build_schedule(optimizer, settings, -(-len(train) // accumulate))
    fit_id = {"name": name, "seed": seed, "settings": settings.model_dump(mode="json")}
    state = _State(folder, fit_id, task.model, optimizer, schedule)
    history = state.resume()
    for epoch in history:
        on_epoch(epoch)
    epochs = settings.epochs if stop is None else stop
    while len(history) < epochs and len(history) <= _best_or_start(history) + settings.patience:
        started, number = time.monotonic(), len(history)
        torch.manual_seed(derive_seed(seed, number, fabric.global_rank))
        with held():
            part = rests.part if rests and number < rests.epochs else None
            train_loss = train_epoch(task, model, train.shuffled(number), optimizer, schedule, fabric, accumulate, part)
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
        on_epoch(history[-1])
    fabric.barrier()  # the first process has written the weights, which all read now
    result = FitResult(history, state.best_weights())
    fabric.barrier()  # all have read them: the first may clear them away now
    return result


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


@dataclass(frozen=True)
class _State:
    """State of a fit on disk: the best weights so far, and all that its next epoch starts from."""

    folder: Path
    fit_id: dict[str, Any]  # name, seed and settings of the fit
    model: nn.Module
    optimizer: Any
    schedule: LRScheduler | None

    @property
    def _last(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def _best(self) -> Path:
        return self.folder / "best.ckpt"

    def keep(self, history: list[Epoch]) -> None:
        """Write the state; the best weights first, so that they are never older than what is recorded of them."""
        if best_epoch(history) == history[-1].epoch:
            best = {"fit": self.fit_id, "epoch": history[-1].epoch, "weights": self.model.state_dict()}
            write_atomically(self._best, lambda temporary: torch.save(best, temporary))
        state = {
            "fit": self.fit_id,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "history": [asdict(epoch) for epoch in history],
        }
        write_atomically(self._last, lambda temporary: torch.save(state, temporary))

    def resume(self) -> list[Epoch]:
        """Load the state, if there is one that can be used, and return the history up to it."""
        if not self._last.is_file():
            return []
        try:
            state, best = _load_state(self._last), _load_state(self._best)
            history = [Epoch(**epoch) for epoch in state["history"]]
            if not state["fit"] == best["fit"] == self.fit_id:
                raise ValueError("it is of another fit")
            if best["epoch"] not in (best_epoch(history), len(history)):  # the latter: interrupted before `last`
                raise ValueError("its best weights are of another epoch")
        except Exception as error:  # zip files, unpickling and torch each raise their own
            say(
                f"{self.folder}: the state of its unfinished fit cannot be used ({in_short(error)}); "
                "the fit starts anew."
            )
            return []
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        return history

    def best_weights(self) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = _load_state(self._best)["weights"]
        return weights


def _load_state(file: Path) -> dict[str, Any]:
    """Read a file of a fit's state; torch itself overlooks a wrong checksum."""
    with zipfile.ZipFile(file) as archive:
        if name := archive.testzip():
            raise ValueError(f"{file.name}: {name} is damaged")
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state
