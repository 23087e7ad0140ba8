"""Objectives of a study: the network of one modality, or a fusion head on finished baselines."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric

from fusion_ln.cohort.clinical import learn_columns
from fusion_ln.compute.fabric import make_fabric
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.fusion import HeadSettings, TokenSettings
from fusion_ln.settings.training import BaselineSettings, FitSettings, LoopSettings, Precision
from fusion_ln.training.crossval import fit_fold, read_cohort
from fusion_ln.training.fusion.heads import fit_head, fold_tokens
from fusion_ln.training.fusion.task import PatientBatches
from fusion_ln.training.fusion.tokens import TokenBank
from fusion_ln.training.state import Epoch
from fusion_ln.training.tasks import PatientLogits


class Objective(Protocol):
    """A model that is fitted fold by fold and scored on inner validation; picklable, for worker processes."""

    @property
    def cohort(self) -> Path:
        """Folder of the cohort."""

    @property
    def base_settings(self) -> LoopSettings:
        """The untuned settings."""

    @property
    def precision(self) -> Precision:
        """Precision of its arithmetic."""

    def describe(self) -> dict[str, Any]:
        """Describe all that must match to resume its study."""

    def fit(
        self, tuned: LoopSettings, fold: int, fabric: Fabric, folder: Path, on_epoch: Callable[[Epoch], None]
    ) -> PatientLogits:
        """Fit the model of a fold with these settings, and predict its inner validation patients."""


@dataclass(frozen=True)
class BaselineObjective:
    """The network of one modality."""

    cohort: Path
    settings: BaselineSettings

    @property
    def base_settings(self) -> FitSettings:
        return self.settings.fit

    @property
    def precision(self) -> Precision:
        return self.settings.fit.precision

    def describe(self) -> dict[str, Any]:
        """Describe all that must match to resume its study."""
        return {"settings": self.settings.model_dump(mode="json")}

    def fit(
        self, tuned: LoopSettings, fold: int, fabric: Fabric, folder: Path, on_epoch: Callable[[Epoch], None]
    ) -> PatientLogits:
        """Fit the network of a fold with these settings, and predict its inner validation patients."""
        assert isinstance(tuned, FitSettings)
        cohort = read_cohort(self.cohort)
        settings = self.settings.model_copy(update={"fit": tuned})
        fitted = fit_fold(cohort, settings, fold, fabric, folder, on_epoch)
        return fitted.predict(cohort.training_part(fold)[1], fabric)


@dataclass(frozen=True)
class HeadObjective:
    """A fusion head on finished baselines."""

    cohort: Path
    members: tuple[Path, ...]
    settings: HeadSettings
    seed: int
    precision: Precision = "32-true"

    @property
    def base_settings(self) -> HeadSettings:
        return self.settings

    def describe(self) -> dict[str, Any]:
        """Describe all that must match to resume its study."""
        records = [RunFolder(member).read_prediction_record() for member in self.members]
        members = [record.settings.model_dump(mode="json") for record in records]
        return {"settings": self.settings.model_dump(mode="json"), "members": members}

    def prepare(self, folds: Iterable[int], device: DeviceSettings) -> None:
        """Store the tokens of the untuned settings, before several workers would each compute them."""
        for fold in folds:
            self._bank(self.settings, fold, make_fabric(device, self.precision).device)

    def fit(
        self, tuned: LoopSettings, fold: int, fabric: Fabric, folder: Path, on_epoch: Callable[[Epoch], None]
    ) -> PatientLogits:
        """Fit the head of a fold with these settings, and predict its inner validation patients."""
        assert isinstance(tuned, HeadSettings)
        cohort = read_cohort(self.cohort)
        bank = self._bank(tuned, fold, fabric.device)
        inner = PatientBatches(bank, bank.of(cohort.training_part(fold)[1]), tuned.batch_size)
        fitted = fit_head(cohort, bank, tuned, fold, seed=self.seed, fabric=fabric, folder=folder, on_epoch=on_epoch)
        return fitted.task.predict(inner, fabric.device)

    def _bank(self, settings: HeadSettings, fold: int, device: torch.device) -> TokenBank:
        return open_tokens(self.cohort, self.members, fold, settings.of_tokens, settings.clinical, str(device))


@lru_cache(maxsize=16)
def open_tokens(
    cohort: Path, members: tuple[Path, ...], fold: int, settings: TokenSettings, clinical: tuple[str, ...], device: str
) -> TokenBank:
    """Open the tokens of a fold, once per process for all trials whose heads share them."""
    opened = read_cohort(cohort)
    columns = learn_columns(opened, clinical, fold)
    return fold_tokens(opened, [RunFolder(m) for m in members], settings, fold, columns, torch.device(device))
