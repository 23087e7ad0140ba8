"""Settings of fusions and their heads."""

from collections.abc import Mapping
from functools import cache
from typing import ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from fusion_ln.heads import heads_reading, takes
from fusion_ln.progress import say
from fusion_ln.settings.base import LAST_SEED, MOST, Protocol, Settings
from fusion_ln.settings.training import BaselineSettings, LoopSettings, Precision
from fusion_ln.terms import is_clinical


class _FusionSettings(Settings):
    head: str
    members: dict[str, BaselineSettings]  # by modality

    @property
    def protocol(self) -> Protocol:
        """``paper`` if a member has that protocol."""
        return "paper" if any(member.protocol == "paper" for member in self.members.values()) else "nested"


class LateSettings(_FusionSettings):
    """Fusion of the predictions of one baseline per modality."""


class FinetuneSettings(LoopSettings):
    """Training of a whole model, backbones and head, after its head was trained on stored tokens."""

    RENAMED: ClassVar[Mapping[str, str]] = {"backbone_rate": "backbone_lr_scale"}
    epochs: int = Field(4, ge=1, le=MOST, description="Epochs of fine-tuning at most.")
    lr: float = Field(5e-4, gt=0, le=100, description="Learning rate of the head (Adam).")
    backbone_lr_scale: float = Field(0.1, gt=0, le=1, description="Learning rate of the backbones, as a share of it.")
    weight_decay: float = Field(0.05, ge=0, le=100, description="Decoupled weight decay (AdamW); 0 is Adam.")
    patience: int = Field(4, ge=1, le=MOST, description="Epochs without a lower validation loss until training ends.")
    accumulate: int = Field(1, ge=1, le=MOST, description="Batches per optimiser step of --finetune.  [default: 1]")
    precision: Precision = Field(
        "auto", description="Precision; auto takes bf16 where device and network are fast at it."
    )


class TokenSettings(Settings):
    """The settings of a head that its tokens depend on, and nothing else of it."""

    tokens: Literal["fitted", "cross-fitted", "pretrained"] = Field(
        "fitted",
        description="Network whose tokens trained heads see: the fold's own, networks that did not see the patient "
        "(trained for it), or the one that training began with.  [default: fitted]",
    )
    copies: int = Field(4, ge=1, le=256, description="Augmented copies of each training picture, besides itself.")
    grid: int = Field(4, ge=1, le=256, description="Tokens a side of a picture at most.")

    @property
    def of_tokens(self) -> "TokenSettings":
        """These settings alone, equal for heads that share tokens."""
        return TokenSettings(**{name: getattr(self, name) for name in TokenSettings.model_fields})


class HeadSettings(TokenSettings, LoopSettings):
    """A fusion head on the tokens of a fold's own baselines."""

    RENAMED: ClassVar[Mapping[str, str]] = {"variants": "copies", "heads": "attention_heads", "seeds": "ensemble_size"}
    head: str = Field("cross-attention", description="Name of the head.")
    width: int = Field(64, ge=8, le=65536, description="Width of the head.")
    depth: int = Field(1, ge=1, le=256, description="Transformer blocks.")
    attention_heads: int = Field(4, ge=1, le=1024, description="Attention heads of each transformer block.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout in the head.")
    drop_path: float = Field(0.0, ge=0, lt=1, description="Chance that a patient skips a branch of a block.")
    modality_dropout: float = Field(
        0.2, ge=0, lt=1, description="Chance that training hides a modality from trained heads.  [default: 0.2]"
    )
    auxiliary: float = Field(0.0, ge=0, le=100, description="Weight of the loss of each modality alone.")
    anchored: bool = Field(True, description="Start at late fusion.")
    ensemble_size: int = Field(1, ge=1, le=1024, description="Heads whose logits are averaged.")
    clinical: tuple[str, ...] = Field((), description="Clinical column for trained heads; repeatable.")
    finetune: FinetuneSettings | None = Field(None, description="Then train the whole model of each fold.")
    epochs: int = Field(20, ge=1, le=MOST, description="Epochs of training at most.")
    batch_size: int = Field(32, ge=2, le=MOST, description="Patients per batch.")
    lr: float = Field(1e-3, gt=0, le=100, description="Learning rate (Adam).")
    weight_decay: float = Field(0.05, ge=0, le=100, description="Decoupled weight decay (AdamW); 0 is Adam.")
    patience: int = Field(20, ge=1, le=MOST, description="Epochs without a lower validation loss until training ends.")

    @model_validator(mode="after")
    def _check_head(self, info: ValidationInfo) -> Self:
        if refused := [c for c in self.clinical if not is_clinical(c)]:
            raise ValueError(f"clinical: {refused[0]!r} is no clinical column but class, id, site or fold")
        if self.finetune and self.finetune.folds is not None:
            raise ValueError("finetune.folds: fine-tuning has the same settings in every fold")
        if idle := [name for name in self.model_dump(exclude_defaults=True) if not takes(self.head, name)]:
            problem = f"{idle[0]} has no effect on {self.head}, only on {', '.join(heads_reading(idle[0]))}"
            if not info.context:  # of a record
                raise ValueError(problem)
            _say_idle(problem)
        if takes(self.head, "attention_heads") and self.width % self.attention_heads:
            raise ValueError(f"width {self.width} is no multiple of attention_heads {self.attention_heads}")
        return self


@cache
def _say_idle(problem: str) -> None:
    say(f"{problem}; an earlier version recorded it.")


class TrainedFusionSettings(_FusionSettings):
    """A trained head on one baseline per modality."""

    training: HeadSettings
    seed: int = Field(0, ge=0, le=LAST_SEED, description="Seed of all randomness.")
