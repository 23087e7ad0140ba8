"""Tokens of a fold's pictures as jobs, so that all cores compute them before the heads learn."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.compute.device import accelerator_of, check_device
from fusion_ln.compute.job import Movable, OnEpoch
from fusion_ln.compute.threads import fixed_threads
from fusion_ln.decode.stored import holds_array
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.training.crossval import read_cohort
from fusion_ln.training.fusion.tokens import picture_tokens, token_files


@dataclass(frozen=True)
class TokensJob(Movable):
    """Tokens of all pictures of a baseline's modality, by the network of one fold, for heads with some settings.

    They are computed in the precision of the baseline.
    """

    cohort: Path
    member: RunFolder
    fold: int
    settings: HeadSettings

    def __str__(self) -> str:
        return f"{self.member.name}, fold {self.fold}"

    @property
    def run(self) -> Path:
        return self.member.root

    @property
    def epochs(self) -> int:
        return 1

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.cohort / "cohort.toml", self.member.record)

    def execute(self, on_epoch: OnEpoch) -> None:
        """Compute the tokens and store them, see `picture_tokens`; later if their network is being fitted."""
        check_device(self.device)
        cohort = read_cohort(self.cohort)
        if self.member.checkpoint(self.fold).is_file():
            with fixed_threads(cohort.n_folds):
                picture_tokens(cohort, self.member, self.fold, self.settings, torch.device(accelerator_of(self.device)))
            on_epoch(0, "tokens stored")


def token_jobs(
    cohort: Cohort, modalities: Mapping[RunFolder, str], heads: Iterable[HeadSettings], device: DeviceSettings
) -> list[TokensJob]:
    """List the tokens that some heads will learn from and that are not on disk; heads with equal settings share them.

    Args:
        cohort: The cohort.
        modalities: Modality of each baseline, finished or not.
        heads: Settings of the heads.
        device: The devices.
    """
    jobs: dict[object, TokensJob] = {}
    for member, fold, head in product(modalities, range(cohort.n_folds), heads):
        settings = head.of_fold(fold)
        if settings.tokens != "cross-fitted":
            key = (member, fold, settings.of_tokens)
            jobs.setdefault(key, TokensJob(cohort.root, member, fold, settings, device=device.one_device))
    return [job for job in jobs.values() if not _stored(cohort, modalities[job.member], job)]


def _stored(cohort: Cohort, modality: str, job: TokensJob) -> bool:
    """Check whether the tokens of a job are on disk."""
    checkpoint = job.member.checkpoint(job.fold)
    if not checkpoint.is_file():
        return False
    return all(map(holds_array, token_files(cohort, modality, checkpoint, job.settings, job.fold).values()))
