"""Settings of pre-training."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fusion_ln.settings.base import ADDED, LAST_SEED, MOST, Settings
from fusion_ln.settings.training import PRETRAINED, FitSettings

Order = Literal["sequential", "interleaved"]
PRETRAIN_PATIENCE = 5  # epochs, as Jiang et al. 2025
PRETRAINING = "pretraining"  # its folder, beside the runs


class PretrainSettings(Settings):
    """Pre-training of one backbone on several tasks."""

    fit: FitSettings = FitSettings(patience=PRETRAIN_PATIENCE)
    order: Order = Field("sequential", description="Within an epoch: one set after another, or all sets mixed.")
    shards: int = Field(
        1,
        ge=1,
        le=MOST,
        description="Parts of each batch that as many cores compute side by side, each with batch norms of its own.",
        json_schema_extra=ADDED,
    )
    seed: int = Field(0, ge=0, le=LAST_SEED, description="Seed of all randomness.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.fit.folds is not None:
            raise ValueError("fit.folds: a pre-training has no outer folds")
        if self.fit.weights == PRETRAINED:
            raise ValueError("fit.weights: `pretrained` is a start of runs; a pre-training starts from another one")
        if self.fit.batch_size < 2 * self.shards:
            raise ValueError(
                f"shards: {self.shards} are too many for batches of {self.fit.batch_size}; each has at least 2 pictures"
            )
        return self


def pretraining_of_runs(fit: FitSettings) -> PretrainSettings:
    """Choose the pre-training of runs with the settings ``fit``: their network and budget, otherwise as usual.

    Batches of all tasks are mixed: one task after another leaves the last one's statistics in the batch norms.
    """
    changes = {name: getattr(FitSettings(), name) for name in ("weights", "augmentation", "label_smoothing")}
    return PretrainSettings(fit=fit.model_copy(update={**changes, "patience": PRETRAIN_PATIENCE}), order="interleaved")
