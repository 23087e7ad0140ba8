"""Settings of runs: small frozen models, read from options and experiment files; an unknown key is refused."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic.config import JsonDict

from fusion_ln.errors import SettingsError, unknown
from fusion_ln.heads import heads_reading, takes
from fusion_ln.progress import say
from fusion_ln.terms import PAPER_BACKBONES, is_clinical

Protocol = Literal["nested", "paper"]
Schedule = Literal["constant", "one-cycle"]
Scheme = Literal["pooled", "per-fold"]
Precision = Literal["auto", "32-true", "bf16-mixed"]
Order = Literal["sequential", "interleaved"]
# Marks a field that was added after the first runs: at its default it is not written, so that older studies match.
ADDED: JsonDict = {"added": True}
MOST = 1_000_000  # of what is counted, far beyond sense: a slip is refused before anything is allocated
LAST_SEED = 2**32 - 1


class Settings(BaseModel):
    """Base of all settings: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    RENAMED: ClassVar[Mapping[str, str]] = {}  # old keys, read for one release, and their names now

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, values: object) -> object:
        return cls.rename(values) if isinstance(values, Mapping) else values

    @model_serializer(mode="wrap")
    def _omit_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out settings that were added after the first runs, where at their default, so that studies match."""
        values: dict[str, Any] = dump(self)
        added = {key: f for key, f in type(self).model_fields.items() if f.json_schema_extra == ADDED}
        return {key: value for key, value in values.items() if key not in added or value != added[key].default}

    @classmethod
    def rename(cls, values: Mapping[str, object]) -> dict[str, object]:
        """Give old keys their names of today, and say so once."""
        if old := tuple(key for key in values if key in cls.RENAMED):
            _say_renamed(old, tuple(cls.RENAMED[key] for key in old))
        if twice := [key for key in old if cls.RENAMED[key] in values]:
            raise SettingsError(f"{twice[0]}: the old name of {cls.RENAMED[twice[0]]}, which is given, too.")
        return {cls.RENAMED.get(key, key): value for key, value in values.items()}

    @classmethod
    def read(cls, values: Mapping[str, object], where: str) -> Self:
        """Build from plain values.

        Raises:
            SettingsError: If a key is unknown or a value does not fit, naming ``where`` and every offender.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(*cls._describe(error, where)) from None

    @classmethod
    def _describe(cls, error: ValidationError, where: str) -> tuple[str, str]:
        """Describe all errors of a validation: the problems and, of unknown keys, the ways out."""
        problems, ways_out = [], []
        for each in error.errors(include_url=False):
            path = [str(key) for key in each["loc"]] or ["settings"]
            if each["type"] == "extra_forbidden":
                known = cls.model_at(path[:-1]).model_fields
                problem, way_out = unknown("setting", path[-1], known, where=".".join(path[:-1]))
                ways_out.append(way_out)
            else:
                problem = f"{'.'.join(path)}: {each['msg'].removeprefix('Value error, ')}."
            problems.append(problem)
        return f"{where}: {' '.join(problems)}", " ".join(ways_out)

    @classmethod
    def model_at(cls, path: Sequence[str]) -> "type[Settings]":
        """Return the settings that lie at a path of keys."""
        model: type[Settings] = cls
        for key in path:
            field = model.model_fields.get(key)
            types = [field.annotation, *get_args(field.annotation)] if field else []
            model = next((t for t in types if isinstance(t, type) and issubclass(t, Settings)), model)
        return model

    def with_changes(self, changes: Mapping[str, object], where: str = "tuned settings") -> Self:
        """Copy the settings with some values changed.

        Raises:
            SettingsError: If a change does not fit, naming ``where``.
        """
        return self.read({**self.model_dump(), **self.rename(changes)}, where)


@cache
def _say_renamed(old: tuple[str, ...], new: tuple[str, ...]) -> None:
    say(f"Settings {', '.join(old)} are now called {', '.join(new)}; the old names are read for one more release.")


class DeviceSettings(Settings):
    """The devices that compute fits; no part of a run's identity."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Device; auto takes a GPU where there is one.")
    devices: int = Field(1, ge=1, le=1024, description="GPUs of a machine (processes, on a CPU) that share one fit.")
    nodes: int = Field(1, ge=1, le=1024, description="Machines that share one fit, each with --devices; by torchrun.")
    workers: int = Field(0, ge=0, le=1024, description="Fits at once; 0: one per core, or one on a GPU.")
    engine: Literal["local", "ray"] = Field("local", description="Where fits run: here, or on a Ray cluster.")
    address: str | None = Field(None, description="Address of the Ray cluster; by default this machine's.")

    @property
    def processes(self) -> int:
        """Number of processes that share one fit."""
        return self.devices * self.nodes

    @property
    def one_device(self) -> "DeviceSettings":
        """One device of this machine, for work that no other process shares."""
        return DeviceSettings(device=self.device if self.engine == "local" else "auto")


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
        return self.model_copy(update={"folds": None}).with_changes(self.folds[number], f"fold {number}")

    @model_validator(mode="after")
    def _check_folds(self) -> Self:
        for changes in self.folds or ():
            type(self).model_validate({**self.model_dump(exclude={"folds"}), **self.rename(changes)})
        return self


class FitSettings(LoopSettings):
    """Training of one network on one modality; the defaults are the ``fast`` preset, sized for two CPU cores."""

    backbone: str = Field("resnet10t", description=f"{', '.join(PAPER_BACKBONES)} or any timm name.")
    weights: str = Field("scratch", description="scratch, imagenet, a weight file, or the folder of a pre-training.")
    image_size: int = Field(96, ge=32, le=2048, description="Pixels a side.")
    head_width: int = Field(256, ge=1, le=65536, description="Width of the classifier's hidden layer.")
    head_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the last layer.", json_schema_extra=ADDED)
    augmentation: float = Field(
        1.0, ge=0, le=3, description="Strength of augmentation; 0 only mirrors.", json_schema_extra=ADDED
    )
    precision: Precision = Field("auto", description="Precision; auto takes bf16 where the device is fast at it.")


# Jiang et al. 2025: Adam, 5e-5, batch 16, 384 px, patience 5. The number of epochs is not stated.
PRESETS: dict[str, FitSettings] = {
    "fast": FitSettings(),
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
    precision: Precision = Field("auto", description="Precision; auto takes bf16 where the device is fast at it.")


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
            say(f"{problem}; an earlier version recorded it.")
        if takes(self.head, "attention_heads") and self.width % self.attention_heads:
            raise ValueError(f"width {self.width} is no multiple of attention_heads {self.attention_heads}")
        return self


class TrainedFusionSettings(_FusionSettings):
    """A trained head on one baseline per modality."""

    training: HeadSettings
    seed: int = Field(0, ge=0, le=LAST_SEED, description="Seed of all randomness.")


PRETRAIN_PATIENCE = 5  # epochs, as Jiang et al. 2025


class PretrainSettings(Settings):
    """Pre-training of one backbone on several tasks."""

    fit: FitSettings = FitSettings(patience=PRETRAIN_PATIENCE)
    order: Order = Field("sequential", description="Within an epoch: one set after another, or all sets mixed.")
    seed: int = Field(0, ge=0, le=LAST_SEED, description="Seed of all randomness.")

    @model_validator(mode="after")
    def _check_no_folds(self) -> Self:
        if self.fit.folds is not None:
            raise ValueError("fit.folds: a pre-training has no outer folds")
        return self
