"""Settings of the training of one network, and of baselines."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from fusion_ln.errors import SettingsError, unknown
from fusion_ln.settings.base import ADDED, LAST_SEED, MOST, Protocol, Settings
from fusion_ln.terms import PAPER_BACKBONES

Schedule = Literal["constant", "one-cycle"]
Precision = Literal["auto", "32-true", "bf16-mixed"]


class LoopSettings(Settings):
    """Settings of the training loop."""

    epochs: int = Field(10, ge=1, le=MOST, description="Epochs of training at most.")
    batch_size: int = Field(16, ge=2, le=MOST, description="Pictures per batch; patients, where modalities are fused.")
    lr: float = Field(3e-3, gt=0, le=100, description="Learning rate (Adam).")
    weight_decay: float = Field(0.0, ge=0, le=100, description="Decoupled weight decay (AdamW); 0 is Adam.")
    schedule: Schedule = Field("one-cycle", description="Learning rate over the steps of training.")
    patience: int = Field(10, ge=1, le=MOST, description="Epochs without a lower validation loss until training ends.")
    folds: tuple[dict[str, Any], ...] | None = Field(
        None, description="Changes of each outer fold, where studies tuned them apart.", json_schema_extra=ADDED
    )

    def of_fold(self, number: int) -> Self:
        """Return the settings of one outer fold.

        Raises:
            SettingsError: If there are changes for some folds, but none for this one.
        """
        if self.folds is None:
            return self
        if number >= len(self.folds):
            raise SettingsError(
                f"settings for {len(self.folds)} folds, but the cohort has a fold {number}.",
                "Tune again on this cohort: `fusionln study run`.",
            )
        changed = {**self.model_dump(exclude={"folds"}), **self.rename(self.folds[number])}
        return self.read(changed, f"fold {number}", recorded=True)  # checked with the settings as a whole

    @model_validator(mode="after")
    def _check_folds(self, info: ValidationInfo) -> Self:
        for changes in self.folds or ():
            changed = {**self.model_dump(exclude={"folds"}), **self.rename(changes)}
            type(self).model_validate(changed, context=info.context)
        return self


class FitSettings(LoopSettings):
    """Training of one network on one modality; the defaults are the ``fast`` preset, sized for two CPU cores."""

    backbone: str = Field("resnet10t", description=f"{', '.join(PAPER_BACKBONES)} or any timm name.")
    weights: str = Field(
        "scratch",
        description="scratch, imagenet, pretrained (on simulated organ tasks, done first), a file, or the folder of a "
        "pre-training or of timm.",
    )
    image_size: int = Field(96, ge=32, le=2048, description="Pixels a side.")
    head_width: int = Field(256, ge=1, le=65536, description="Width of the classifier's hidden layer.")
    head_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the last layer.", json_schema_extra=ADDED)
    augmentation: float = Field(
        1.0, ge=0, le=3, description="Strength of augmentation; 0 only mirrors.", json_schema_extra=ADDED
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of each label that is spread over all classes (Szegedy et al. 2016).",
        json_schema_extra=ADDED,
    )
    frozen_epochs: int = Field(
        0, ge=0, le=MOST, description="First epochs in which the head learns alone.", json_schema_extra=ADDED
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Rate of each layer of the backbone as a share of the next one's (Bao et al. 2022).",
        json_schema_extra=ADDED,
    )
    precision: Precision = Field(
        "auto", description="Precision; auto takes bf16 where device and network are fast at it."
    )


PRETRAINED = "pretrained"  # weights of a pre-training that is made for the runs first

# ``pretrained``: measured in experiments/benchmarks/first_run.md and recipes.md.
# Jiang et al. 2025: Adam, 5e-5, batch 16, 384 px, patience 5. The number of epochs is not stated.
PRESETS: dict[str, FitSettings] = {
    "fast": FitSettings(),
    "pretrained": FitSettings(weights=PRETRAINED, image_size=64, augmentation=2.0, label_smoothing=0.1),
    "paper": FitSettings(
        backbone="resnet152", image_size=384, epochs=100, lr=5e-5, schedule="constant", patience=5, precision="32-true"
    ),
}


def resolve_fit(preset: str, changes: Mapping[str, object], where: str) -> FitSettings:
    """Return a preset with some of its values changed.

    Raises:
        SettingsError: If the preset is unknown or a change does not fit.
    """
    if preset not in PRESETS:
        raise SettingsError(*unknown("preset", preset, list(PRESETS), where=where))
    return PRESETS[preset].with_changes(changes, where)


class BaselineSettings(Settings):
    """Cross-validation of one network on the pictures of one modality."""

    modality: str = Field(description="2d, cdfi, elastic, or another of the cohort.")
    fit: FitSettings = FitSettings()
    protocol: Protocol = Field(
        "nested", description="nested stops on inner validation; paper on the held-out fold, which flatters."
    )
    seed: int = Field(0, ge=0, le=LAST_SEED, description="Seed of all randomness.")
