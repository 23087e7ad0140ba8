"""Tokens of a fold's pictures as jobs, so that all cores compute them before the heads learn."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Self

from lightning_fabric import Fabric

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.compute.engines import run_jobs
from fusion_ln.compute.job import OnEpoch
from fusion_ln.decode.stored import holds_array
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import Precision
from fusion_ln.training.crossval import read_cohort
from fusion_ln.training.fusion.late import finished_baseline
from fusion_ln.training.fusion.tokens import picture_tokens, token_files


@dataclass(frozen=True)
class TokensJob:
    """Tokens of all pictures of a baseline's modality, by the network of one fold, for heads with some settings."""

    cohort: Path
    member: RunFolder
    fold: int
    settings: HeadSettings
    device: DeviceSettings

    def __str__(self) -> str:
        return f"{self.member.name}, fold {self.fold}"

    @property
    def run(self) -> Path:
        return self.member.root

    @property
    def precision(self) -> Precision:
        return "32-true"  # tokens are computed in the baseline's

    @property
    def memory(self) -> int:
        return 0

    @property
    def epochs(self) -> int:
        return 1

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.cohort / "cohort.toml", self.member.record)

    def on(self, device: DeviceSettings) -> Self:
        """Move the computation to another device."""
        return replace(self, device=device)

    def execute(self, fabric: Fabric, on_epoch: OnEpoch) -> None:
        """Compute the tokens and store them; see `picture_tokens`."""
        picture_tokens(read_cohort(self.cohort), self.member, self.fold, self.settings, fabric.device)
        on_epoch(0, "stored")


def store_tokens(
    cohort: Cohort, members: list[RunFolder], heads: Iterable[HeadSettings], device: DeviceSettings
) -> None:
    """Compute the tokens that some heads will learn from, several at once; those on disk are kept.

    Raises:
        RunError, SettingsError: See `picture_tokens`.
    """
    modalities = {member: finished_baseline(cohort, member).modality for member in members}
    jobs: dict[object, TokensJob] = {}  # by the file that each makes
    for head, fold in product(heads, range(cohort.n_folds)):
        settings = head.of_fold(fold)
        for member, modality in modalities.items() if settings.tokens != "cross-fitted" else ():
            files = token_files(cohort, modality, member.checkpoint(fold), settings)
            if not all(map(holds_array, files.values())):
                jobs[files["tokens"]] = TokensJob(cohort.root, member, fold, settings, device.one_device)
    run_jobs(list(jobs.values()), shares=cohort.n_folds, title="Tokens")
