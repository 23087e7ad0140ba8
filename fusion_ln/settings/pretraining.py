"""Settings of pre-training."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fusion_ln.settings.base import LAST_SEED, Settings
from fusion_ln.settings.training import FitSettings

Order = Literal["sequential", "interleaved"]
PRETRAIN_PATIENCE = 5  # epochs, as Jiang et al. 2025
PRETRAINED = "pretrained"  # among the weights of runs: of a pre-training that is made for them first
PRETRAINING = "pretraining"  # its folder, beside the runs


class PretrainSettings(Settings):
    """Pre-training of one backbone on several tasks."""

    fit: FitSettings = FitSettings(patience=PRETRAIN_PATIENCE)
    order: Order = Field("sequential", description="Within an epoch: one set after another, or all sets mixed.")
    seed: int = Field(0, ge=0, le=LAST_SEED, description="Seed of all randomness.")

    @model_validator(mode="after")
    def _check_no_folds(self) -> Self:
        if self.fit.folds is not None:
            raise ValueError("fit.folds: a pre-training has no outer folds")
        if self.fit.weights == PRETRAINED:
            raise ValueError("fit.weights: `pretrained` is a start of runs; a pre-training starts from another one")
        return self


def pretraining_of_runs(fit: FitSettings) -> PretrainSettings:
    """Choose the settings of the pre-training that runs with the settings ``fit`` start from."""
    changes = {"weights": "scratch", "patience": PRETRAIN_PATIENCE}
    return PretrainSettings(fit=fit.model_copy(update=changes))
