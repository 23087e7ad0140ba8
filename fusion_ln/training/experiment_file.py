"""Experiment files: one TOML with a question, a cohort, and the runs that answer it."""

import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.errors import SettingsError, unknown
from fusion_ln.files.formats import parse
from fusion_ln.heads import LATE_HEADS, TRAINED_HEADS, takes
from fusion_ln.settings.base import LAST_SEED, Protocol, Settings
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.studies import StudySettings
from fusion_ln.settings.training import FitSettings, resolve_fit


class ExperimentSettings(Settings):
    """One experiment file: a question, a cohort, and the runs that answer it.

    Every backbone is trained from all weights on every modality with every seed, and every head fuses the modalities
    of each.
    """

    name: str = Field(description="Name of the experiment and of the folder of its runs.")
    question: str = Field(description="The question that the report leads with.")
    cohort: str | None = Field(None, description="Cohort folder, relative to the file; by default the phantom.")
    phantom: PhantomSettings = Field(PhantomSettings(), description="The simulated cohort.")
    preset: str = Field("fast", description="Preset of the baselines' settings.")
    fit: dict[str, object] = Field({}, description="Changes to the preset.")
    backbones: list[str] = Field([], description="Backbones; the preset's alone, where empty.")
    weights: list[str] = Field(
        [],
        description="Starting weights, as `--weights`; the preset's alone, where empty. `pretrained`: of a "
        "pre-training on the simulated organ tasks, done first.",
    )
    modalities: list[str] = Field([], description="Modalities; all of the cohort's, where empty.")
    heads: list[str] = Field([], description="Fusion heads.")
    head: dict[str, object] = Field({}, description="Changes to the settings of all trained heads.")
    variants: dict[str, dict[str, object]] = Field(
        {}, description="Further trained heads by name: `head`, and changes to its settings."
    )
    seeds: list[Annotated[int, Field(ge=0, le=LAST_SEED)]] = Field(
        [0], min_length=1, description="Seeds; everything is run with each."
    )
    protocol: Protocol = Field("nested", description="Patients that stop the training: see `BaselineSettings`.")
    study: StudySettings = Field(StudySettings(), description="Budget of the studies.")
    space: dict[str, dict[str, object]] = Field(
        {}, description="Search space, for `baseline` and `head`: see `tuning.space`."
    )
    tuned: dict[str, dict[str, object]] = Field({}, description="Settings that tuning found, by the name of a run.")

    @field_validator("backbones", "weights", "modalities", "heads", "seeds")
    @classmethod
    def _check_repeats(cls, values: list[str | int]) -> list[str | int]:
        if repeated := [value for place, value in enumerate(values) if value in values[:place]]:
            raise ValueError(f"{repeated[0]!r} is named twice")
        return values


def fusion_name(head: str) -> str:
    """Name the run of a head."""
    return f"fusion-{head}"


def head_settings(heads: Iterable[str], changes: Mapping[str, object], where: str) -> dict[str, HeadSettings | None]:
    """Resolve names of heads to settings of trained ones, changed by ``changes``, and None of late ones.

    A change of layers that only some of the heads have is made to those.

    Raises:
        SettingsError: If a head does not exist, or a change does not fit or has no trained head to fit.
    """
    known = (*LATE_HEADS, *TRAINED_HEADS)
    if absent := [head for head in heads if head not in known]:
        raise SettingsError(*unknown("head", absent[0], known, where=where))
    if "head" in changes:
        raise SettingsError(f"{where}: head: a change of the settings cannot name another head.", "Name heads alone.")
    changes = HeadSettings.rename(changes)
    trained = [head for head in heads if head in TRAINED_HEADS]
    settings: dict[str, HeadSettings | None] = {}
    for head in heads:
        own = changes_of(head, changes, trained)
        settings[head] = None if head in LATE_HEADS else HeadSettings.read({"head": head, **own}, where)
    return settings


def changes_of(head: str, changes: Mapping[str, object], heads: Collection[str]) -> dict[str, object]:
    """Keep a head's own of the changes for several: not those of layers that another of them has, but not this one."""
    of_some = {name for name in changes if any(takes(other, name) for other in heads)}
    return {name: value for name, value in changes.items() if name not in of_some or takes(head, name)}


def check_head_changes(heads: Mapping[str, HeadSettings | None], changes: Mapping[str, object], where: str) -> None:
    """Refuse settings of trained heads where all heads are late ones, which have none.

    Raises:
        SettingsError: Naming the settings.
    """
    if changes and not any(heads.values()):
        raise SettingsError(
            f"{where}: {', '.join(changes)}: set for trained heads, but all heads are late ones.",
            f"Name a trained head as well ({', '.join(TRAINED_HEADS)}), or leave the settings out.",
        )


def experiment_heads(experiment: ExperimentSettings, where: str) -> dict[str, HeadSettings | None]:
    """Resolve the heads of an experiment and its variants of them, in its order.

    Raises:
        SettingsError: As `head_settings`.
    """
    shared = HeadSettings.rename(experiment.head)
    named = [*experiment.heads, *(str(changes.get("head", name)) for name, changes in experiment.variants.items())]
    trained = [head for head in named if head in TRAINED_HEADS]
    heads = {head: head_settings([head], changes_of(head, shared, trained), where)[head] for head in experiment.heads}
    for name, changes in experiment.variants.items():
        head = str(changes.get("head", name))
        varied = {key: value for key, value in changes.items() if key != "head"}
        if head in LATE_HEADS:
            raise SettingsError(f"{where}, variant {name}: {head} is no trained head, so it has no settings to vary.")
        varied = changes_of(head, shared, trained) | HeadSettings.rename(varied)
        heads[name] = head_settings([head], varied, f"{where}, variant {name}")[head]
    return heads


def read_experiment(path: Path) -> ExperimentSettings:
    """Read and check an experiment file.

    Raises:
        SettingsError: If it is not TOML, has an unknown key, or names a head that does not exist.
    """
    try:
        values = parse(path.read_text(encoding="utf-8-sig"), tomllib.loads)
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not in UTF-8.", "Save it again in UTF-8.") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read as TOML ({error}).", "See `experiments/` for examples.") from None
    experiment = ExperimentSettings.read(values, str(path))
    heads = experiment_heads(experiment, str(path))
    check_head_changes(heads, experiment.head, str(path))
    if absent := [n for n in experiment.tuned if not n.startswith("baseline-") and n not in map(fusion_name, heads)]:
        raise SettingsError(f"{path}: tuned.{absent[0]}: no run of that name.", "As in `tuned.baseline-2d`.")
    return experiment


def experiment_fits(experiment: ExperimentSettings, where: str) -> dict[str, FitSettings]:
    """Resolve the settings of each backbone's fits, by backbone.

    Raises:
        SettingsError: If a change to the preset does not fit.
    """
    preset = resolve_fit(experiment.preset, experiment.fit, where)
    return {name: preset.model_copy(update={"backbone": name}) for name in experiment.backbones or [preset.backbone]}
