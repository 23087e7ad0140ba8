"""Job: one fit as the process that computes it sees it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, Self

from fusion_ln.settings.devices import DeviceSettings

OnEpoch = Callable[[int, str], None]  # number of the finished epoch from 0, and a note on it
Step = Callable[[str], None]  # one step of a progress bar, with a note


class Job(Protocol):
    """One fit that any process of any machine can compute on its own; picklable, with a readable ``str``."""

    @property
    def run(self) -> Path:
        """Folder of the run that the fit belongs to."""

    @property
    def device(self) -> DeviceSettings:
        """Devices that compute it."""

    @property
    def memory(self) -> int:
        """Bytes of a GPU's memory that it takes, about; 0: not known (of all jobs: one at a time)."""

    @property
    def epochs(self) -> int:
        """Largest number of epochs; early stopping may save some."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that every process must see."""

    def on(self, device: DeviceSettings) -> Self:
        """Move the job to another device."""

    def execute(self, on_epoch: OnEpoch) -> None:
        """Compute the fit on its device and write its results.

        Args:
            on_epoch: Called after every epoch; an error that it raises ends the fit.
        """


@dataclass(frozen=True)
class Movable:
    """Part of a job that says where it runs: with a GPU's memory not known, unless the job knows better.

    Attributes:
        device: See `Job`.
    """

    device: DeviceSettings = field(kw_only=True)

    @property
    def memory(self) -> int:
        return 0

    def on(self, device: DeviceSettings) -> Self:
        """Move the job to another device."""
        return replace(self, device=device)
