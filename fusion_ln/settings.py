"""What a run is asked to do: small frozen models, read from options and experiment files; an unknown key is refused."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from fusion_ln.errors import SettingsError, unknown

Protocol = Literal["nested", "paper"]
Schedule = Literal["constant", "one-cycle"]
Scheme = Literal["pooled", "per-fold"]
Precision = Literal["auto", "32-true", "bf16-mixed"]
Order = Literal["sequential", "interleaved"]
LATER = {"folds", "head_dropout", "augmentation"}


class Settings(BaseModel):
    """Base of all settings: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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

    def with_changes(self, changes: dict[str, Any], where: str = "tuned settings") -> Self:
        """Copy the settings with some values changed.

        Raises:
            SettingsError: If a change does not fit, naming ``where``.
        """
        return self.read({**self.model_dump(), **changes}, where)


class DeviceSettings(Settings):
    """The devices that compute fits; no part of a run's identity."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Device; auto takes a GPU where there is one.")
    devices: int = Field(1, ge=1, description="GPUs of a machine (processes, on a CPU) that share one fit.")
    nodes: int = Field(1, ge=1, description="Machines that share one fit, each with --devices; started by torchrun.")
    workers: int = Field(0, ge=0, description="Fits at once; 0: one per core, or one on a GPU.")
    engine: Literal["local", "ray"] = Field("local", description="Where fits run: here, or on a Ray cluster.")
    address: str | None = Field(None, description="Address of the Ray cluster; by default this machine's.")

    @property
    def processes(self) -> int:
        """Number of processes that share one fit."""
        return self.devices * self.nodes

    @property
    def one_device(self) -> "DeviceSettings":
        """One device of this machine, for work that no other process shares."""
        return DeviceSettings(device="auto" if self.engine == "ray" else self.device)

    def check_batch(self, batch_size: int) -> None:
        """Refuse a total batch size that the processes of a fit cannot share equally.

        Raises:
            SettingsError: Naming the nearest size that works.
        """
        n = self.processes
        if n > 1 and (batch_size % n or batch_size < 2 * n):
            raise SettingsError(
                f"--batch-size {batch_size}: {n} processes (--devices {self.devices} --nodes {self.nodes}) share a "
                "batch in equal parts of at least 2 pictures, and this one cannot be shared so.",
                f"Give a multiple, such as `--batch-size {max(2, round(batch_size / n)) * n}`.",
            )


class LoopSettings(Settings):
    """How the training loop runs."""

    epochs: int = Field(10, ge=1)
    batch_size: int = Field(16, ge=2)
    lr: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)  # decoupled (AdamW); 0 is Adam
    schedule: Schedule = "one-cycle"
    patience: int = Field(10, ge=1)  # epochs without a lower validation loss before training stops
    folds: tuple[dict[str, Any], ...] | None = None  # changes for each outer fold, where a study tuned them one by one

    def of_fold(self, number: int) -> Self:
        """The settings of one outer fold.

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
        return self.read({**self.model_dump(exclude={"folds"}), **self.folds[number]}, f"fold {number}")

    @model_validator(mode="after")
    def _check_folds(self) -> Self:
        for changes in self.folds or ():
            type(self).model_validate({**self.model_dump(exclude={"folds"}), **changes})
        return self

    @model_serializer(mode="wrap")
    def _without_news(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Settings that came after the first runs are written only where they are used, so that those runs match."""
        values: dict[str, Any] = dump(self)
        later = {key for key in LATER & values.keys() if values[key] == type(self).model_fields[key].default}
        return {key: value for key, value in values.items() if key not in later}


class FitSettings(LoopSettings):
    """One training run of one network; the defaults are the ``fast`` preset, sized for two CPU cores."""

    backbone: str = "resnet10t"
    weights: str = "scratch"  # scratch | imagenet | a file
    image_size: int = Field(96, ge=32, le=2048)  # pixels a side
    head_width: int = Field(256, ge=1)
    head_dropout: float = Field(0.0, ge=0, lt=1)
    augmentation: float = Field(1.0, ge=0, le=3)  # strength: all amounts of `images.augment` times this
    precision: Precision = "auto"  # auto: bf16 where the device is fast at it


# Jiang et al. 2025: Adam, 5e-5, batch 16, 384 px, patience 5. The number of epochs is not stated.
PRESETS: dict[str, FitSettings] = {
    "fast": FitSettings(),
    "paper": FitSettings(
        backbone="resnet152", image_size=384, epochs=100, lr=5e-5, schedule="constant", patience=5, precision="32-true"
    ),
}


def resolve_fit(preset: str, changes: dict[str, Any], where: str) -> FitSettings:
    """A preset with some of its values changed; a change of None is none.

    Raises:
        SettingsError: If the preset is unknown or a change does not fit.
    """
    if preset not in PRESETS:
        raise SettingsError(*unknown("preset", preset, list(PRESETS), where=where))
    given = {key: value for key, value in changes.items() if value is not None}
    return FitSettings.read({**PRESETS[preset].model_dump(), **given}, where)


class BaselineSettings(Settings):
    """A network per outer fold on the pictures of one modality."""

    modality: str
    fit: FitSettings = FitSettings()
    protocol: Protocol = "nested"
    seed: int = Field(0, ge=0)


def _protocol_of(members: dict[str, BaselineSettings]) -> Protocol:
    return "paper" if any(member.protocol == "paper" for member in members.values()) else "nested"


class LateSettings(Settings):
    """Fusion of the predictions of one baseline per modality."""

    head: str
    members: dict[str, BaselineSettings]  # by modality

    @property
    def protocol(self) -> Protocol:
        """``paper`` if a member has that protocol."""
        return _protocol_of(self.members)


class FinetuneSettings(LoopSettings):
    """Training of a whole model, backbones and head, after its head was trained on stored tokens."""

    epochs: int = Field(4, ge=1)
    lr: float = Field(5e-4, gt=0)  # of the head
    backbone_lr_scale: float = Field(0.1, gt=0, le=1)  # share of it that the backbones learn at
    weight_decay: float = Field(0.05, ge=0)
    patience: int = Field(4, ge=1)
    accumulate: int = Field(1, ge=1)  # batches whose gradients are added up before each step
    precision: Precision = "auto"


class HeadSettings(LoopSettings):
    """A fusion head over the tokens of a fold's own baselines."""

    head: str = "cross-attention"
    # Whose tokens: of the fold's baseline; in training of networks that did not see the patient, at the end of the
    # baseline; or of the weights that the baseline began with.
    tokens: Literal["fitted", "cross-fitted", "pretrained"] = "fitted"
    variants: int = Field(4, ge=1)  # augmented versions of each training picture, besides the picture itself
    grid: int = Field(4, ge=1)  # at most so many tokens a side
    width: int = Field(64, ge=8)
    depth: int = Field(1, ge=1)
    heads: int = Field(4, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)
    drop_path: float = Field(0.0, ge=0, lt=1)
    modality_dropout: float = Field(0.2, ge=0, lt=1)
    auxiliary: float = Field(0.0, ge=0)  # weight of the loss of each modality alone
    anchored: bool = True  # start at late fusion
    seeds: int = Field(1, ge=1)  # heads whose logits are averaged
    clinical: tuple[str, ...] = ()
    finetune: FinetuneSettings | None = None
    epochs: int = Field(20, ge=1)
    batch_size: int = Field(32, ge=2)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    patience: int = Field(20, ge=1)

    @model_validator(mode="after")
    def _check_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self


class TrainedFusionSettings(Settings):
    """A trained head on one baseline per modality."""

    head: str
    members: dict[str, BaselineSettings]  # by modality
    training: HeadSettings
    seed: int = Field(0, ge=0)

    @property
    def protocol(self) -> Protocol:
        """``paper`` if a member has that protocol."""
        return _protocol_of(self.members)


PRETRAIN_PATIENCE = 5  # epochs, as Jiang et al. 2025


class PretrainSettings(Settings):
    """Pre-training of one backbone on several tasks."""

    fit: FitSettings = FitSettings(patience=PRETRAIN_PATIENCE)
    order: Order = "sequential"  # of the tasks' batches in an epoch
    seed: int = Field(0, ge=0)


class PhantomSettings(Settings):
    """The simulated cohort of an experiment."""

    patients: int = Field(240, ge=30)
    image_size: int = Field(96, ge=32)
    seed: int = Field(0, ge=0)
    sites: int = Field(3, ge=1)
    missing: float = Field(0.0, ge=0, lt=1)
    shortcut: float = Field(0.0, ge=0, le=1)


class StudySettings(Settings):
    """How an experiment's settings are tuned: every study has the same budget."""

    trials: int | None = Field(None, ge=1, description="finished trials; 40 where no `seconds` are given either")
    seconds: float | None = Field(None, gt=0)  # of computing
    # One study for all outer folds, or one for each; None: baselines pooled, heads per fold.
    scheme: Scheme | None = None
    objectives: tuple[str, ...] = Field(("auc",), min_length=1)
    sampler: Literal["tpe", "random"] = "tpe"
    seed: int = Field(0, ge=0)


class ExperimentSettings(Settings):
    """One experiment file: a question, a cohort, and the runs that answer it.

    Every backbone is trained from all weights on every modality with every seed, and every head fuses the modalities
    of each.
    """

    name: str
    question: str
    cohort: str | None = None  # a cohort folder, relative to the file; without it the phantom
    phantom: PhantomSettings = PhantomSettings()
    preset: str = "fast"
    fit: dict[str, Any] = {}  # changes to the preset
    backbones: list[str] = Field([], description="the preset's alone, where empty")
    # Where networks start, as `--weights`; `pretrained`: from a pre-training on the simulated organ tasks, done first.
    weights: list[str] = Field([], description="the preset's alone, where empty")
    modalities: list[str] = Field([], description="all of the cohort's, where empty")
    heads: list[str] = []
    head: dict[str, Any] = {}  # changes to the settings of all trained heads
    variants: dict[str, dict[str, Any]] = {}  # further trained heads: by name, `head` and changes to its settings
    seeds: list[int] = Field([0], min_length=1)
    protocol: Protocol = "nested"
    study: StudySettings = StudySettings()
    space: dict[str, dict[str, Any]] = {}  # what to tune, for `baseline` and `head`: see `training.space`
    tuned: dict[str, dict[str, Any]] = {}  # what tuning found, by the name of a run

    @field_validator("backbones", "weights", "modalities", "heads", "seeds")
    @classmethod
    def _check_repeats(cls, values: list[Any]) -> list[Any]:
        if repeated := [value for place, value in enumerate(values) if value in values[:place]]:
            raise ValueError(f"{repeated[0]!r} is named twice")
        return values
