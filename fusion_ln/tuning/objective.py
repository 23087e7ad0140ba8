"""What a study can tune: the network of one modality, or a fusion head on finished baselines."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric

from fusion_ln.cohort.clinical import learn_columns
from fusion_ln.compute.device import make_fabric
from fusion_ln.runs import RunFolder
from fusion_ln.settings import BaselineSettings, DeviceSettings, FitSettings, HeadSettings, LoopSettings, Precision
from fusion_ln.training.crossval import fit_fold, read_cohort
from fusion_ln.training.fit import Epoch
from fusion_ln.training.fusion.heads import fit_head, fold_tokens
from fusion_ln.training.fusion.task import PatientBatches
from fusion_ln.training.fusion.tokens import TokenBank
from fusion_ln.training.tasks import PatientLogits

# Settings of a head that its tokens do not depend on.
NOT_OF_TOKENS = {
    *("head", "width", "depth", "attention_heads", "dropout", "drop_path", "modality_dropout", "auxiliary"),
    *("anchored", "ensemble_size"),
    *("epochs", "batch_size", "lr", "weight_decay", "schedule", "patience"),
}


class Objective(Protocol):
    """Anything that is fitted fold by fold and scored on inner validation; worker processes get a copy of it."""

    @property
    def cohort(self) -> Path:
        """Folder of the cohort."""

    @property
    def base_settings(self) -> LoopSettings:
        """The settings that are to be tuned, as they are."""

    @property
    def precision(self) -> Precision:
        """What to compute it in."""

    def describe(self) -> dict[str, Any]:
        """What makes it another target."""

    def fit(
        self, tuned: LoopSettings, fold: int, fabric: Fabric, folder: Path, on_epoch: Callable[[Epoch], None]
    ) -> PatientLogits:
        """What the model of a fold, fitted with these settings, says of its inner validation patients."""


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
        """What makes it another target."""
        return {"settings": self.settings.model_dump(mode="json")}

    def fit(
        self, tuned: LoopSettings, fold: int, fabric: Fabric, folder: Path, on_epoch: Callable[[Epoch], None]
    ) -> PatientLogits:
        """What the network of a fold, fitted with these settings, says of its inner validation patients."""
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
        """What makes it another target."""
        records = [RunFolder(member).read_prediction_record() for member in self.members]
        members = [record.settings.model_dump(mode="json") for record in records]
        return {"settings": self.settings.model_dump(mode="json"), "members": members}

    def prepare(self, folds: Iterable[int], device: DeviceSettings) -> None:
        """Put the tokens of the untuned settings on disk, before several workers would each compute them."""
        for fold in folds:
            _bank(self.cohort, self.members, fold, self.settings, str(make_fabric(device, self.precision).device))

    def fit(
        self, tuned: LoopSettings, fold: int, fabric: Fabric, folder: Path, on_epoch: Callable[[Epoch], None]
    ) -> PatientLogits:
        """What the head of a fold, fitted with these settings, says of its inner validation patients."""
        assert isinstance(tuned, HeadSettings)
        cohort = read_cohort(self.cohort)
        base_settings = {name: getattr(self.settings, name) for name in NOT_OF_TOKENS}
        bank = _bank(self.cohort, self.members, fold, tuned.model_copy(update=base_settings), str(fabric.device))
        inner = PatientBatches(bank, bank.of(cohort.training_part(fold)[1]), tuned.batch_size)
        learnt = fit_head(cohort, bank, tuned, fold, seed=self.seed, fabric=fabric, folder=folder, on_epoch=on_epoch)
        return learnt.task.predict(inner, fabric.device)


@lru_cache(maxsize=16)
def _bank(cohort: Path, members: tuple[Path, ...], fold: int, settings: HeadSettings, device: str) -> TokenBank:
    opened = read_cohort(cohort)
    columns = learn_columns(opened, settings.clinical, fold)
    return fold_tokens(opened, [RunFolder(m) for m in members], settings, fold, columns, torch.device(device))
