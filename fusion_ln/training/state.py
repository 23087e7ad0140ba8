"""State of a fit: what a stopped one goes on from, held in memory and written to disk now and then."""

import math
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from fusion_ln.errors import RunError, in_short
from fusion_ln.files.atomic import write_atomically
from fusion_ln.progress import say

STATE_SECONDS = 30.0  # of work that a killed fit does again; a state takes four times the room of the weights


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


def best_epoch(history: list[Epoch]) -> int:
    """Find the epoch with the lowest validation loss, the first of equals; where nobody validates, the last."""
    if math.isnan(history[-1].val_loss):
        return history[-1].epoch
    return min(history, key=lambda e: e.val_loss).epoch


class Pace:
    """Rhythm of writes: the next one is due so many seconds after the last, or after the beginning."""

    def __init__(self, seconds: float = STATE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self.restart()

    @property
    def due(self) -> bool:
        return self._clock() - self._since >= self._seconds

    def restart(self) -> None:
        """Count from now on."""
        self._since = self._clock()


@dataclass
class FitState:
    """Best weights so far, in memory, and on disk all that the next epoch starts from, as of the last write."""

    folder: Path
    fit_id: Mapping[str, Any]  # name, seed and settings of the fit
    model: nn.Module
    optimizer: Any
    schedule: LRScheduler | None
    pace: Pace = field(default_factory=lambda: Pace(STATE_SECONDS))
    _weights: dict[str, Tensor] = field(default_factory=dict)  # the best ones
    _best: int = -1  # their epoch
    _best_on_disk: int = -1
    _epochs_on_disk: int = 0

    @property
    def last_file(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def best_file(self) -> Path:
        return self.folder / "best.ckpt"

    def keep(self, history: list[Epoch]) -> None:
        """Remember the weights if the epoch that just ended is the best one, and write the state if that is due."""
        if best_epoch(history) == history[-1].epoch:
            self._remember(history[-1].epoch)
        if self.pace.due:
            self.write(history)

    def write(self, history: list[Epoch]) -> None:
        """Write the state as of the last epoch; the best weights first, never older than what is said of them."""
        if len(history) == self._epochs_on_disk:
            return
        if self._best_on_disk != self._best:
            best = {"fit": self.fit_id, "epoch": self._best, "weights": self._weights}
            write_atomically(self.best_file, lambda temporary: torch.save(best, temporary))
            self._best_on_disk = self._best
        state = {
            "fit": self.fit_id,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "history": [asdict(epoch) for epoch in history],
        }
        write_atomically(self.last_file, lambda temporary: torch.save(state, temporary))
        self._epochs_on_disk = len(history)
        self.pace.restart()

    def resume(self) -> list[Epoch]:
        """Load the state, if there is one that can be used, and return the history up to it."""
        if not self.last_file.is_file():
            return []
        try:
            state, best = _load(self.last_file), _load(self.best_file)
            history = [Epoch(**epoch) for epoch in state["history"]]
            if not state["fit"] == best["fit"] == self.fit_id:
                raise ValueError("it is of another fit")
            if best["epoch"] != best_epoch(history) and best["epoch"] < len(history):  # later: killed before `last`
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
        self._weights, self._best = best["weights"], best["epoch"]
        self._best_on_disk, self._epochs_on_disk = self._best, len(history)
        return history

    def best_weights(self, history: list[Epoch]) -> dict[str, Tensor]:
        """Return the weights of the best epoch, on the host.

        Raises:
            RunError: If the fit was killed amid a write, and what it wrote last did not come out again.
        """
        if self._best != best_epoch(history):
            raise RunError(
                f"{self.folder}: epoch {self._best + 1} was the best one before this fit was killed, and is not now.",
                f"The device does not compute the same twice. Delete {self.folder}: the fit then starts anew.",
            )
        return self._weights

    def _remember(self, epoch: int) -> None:
        """Copy the weights as they are now; into the same memory each time, which the kernel then need not clear."""
        for name, value in self.model.state_dict().items():
            if name in self._weights:
                self._weights[name].copy_(value)
            else:
                self._weights[name] = value.detach().to("cpu", copy=True)
        self._best = epoch


def _load(file: Path) -> dict[str, Any]:
    """Read a file of a fit's state; torch itself overlooks a wrong checksum."""
    with zipfile.ZipFile(file) as archive:
        if name := archive.testzip():
            raise ValueError(f"{file.name}: {name} is damaged")
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state


@contextmanager
def termination_held_back() -> Iterator[Callable[[], bool]]:
    """Hold SIGTERM back until the body is done, which may ask for it between two epochs; then let it through.

    Without effect in other threads than the main one, and where something else than Python takes the signal.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or handler in (None, signal.SIG_IGN):
        yield lambda: False
        return
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        yield lambda: bool(heard)
    finally:
        signal.signal(signal.SIGTERM, handler)
        if heard:
            signal.raise_signal(signal.SIGTERM)
