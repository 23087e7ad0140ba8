"""Sets of runs: the baselines of a cohort, their fusions, and experiments made of them."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fusion_ln.cohort.cohort import Cohort, load_cohort
from fusion_ln.cohort.default import open_phantom
from fusion_ln.errors import SettingsError
from fusion_ln.runs import RunFolder
from fusion_ln.settings import BaselineSettings, ExperimentSettings, FitSettings, HeadSettings, Protocol, resolve_fit
from fusion_ln.terms import LATE_HEADS, TRAINED_HEADS
from fusion_ln.training.crossval import begin, finish
from fusion_ln.training.device import DeviceSettings, make_fabric
from fusion_ln.training.fuse import fuse_late
from fusion_ln.training.heads import train_head
from fusion_ln.training.scale import run_jobs


def run_baselines(
    cohort: Cohort,
    modalities: list[str],
    fit: FitSettings,
    out: Path,
    *,
    protocol: Protocol,
    seed: int,
    device: DeviceSettings,
) -> list[RunFolder]:
    """Train ``out/baseline-<modality>`` for each modality, or keep what is there already.

    Raises:
        CohortError, RunError, SettingsError, WeightsError: Before any training, if something does not fit.
        DivergedError: If a loss stops being a number; the finished folds stay.
    """
    runs, jobs = [], []
    for modality in modalities:
        runs.append(RunFolder(out / f"baseline-{modality}"))
        settings = BaselineSettings(modality=modality, fit=fit, protocol=protocol, seed=seed)
        jobs += begin(cohort, settings, runs[-1], device)
    run_jobs(jobs, n_folds=cohort.n_folds)
    for run in runs:
        finish(run)
    return runs


def run_fusions(
    cohort: Cohort,
    baselines: list[RunFolder],
    heads: dict[str, HeadSettings | None],
    out: Path,
    *,
    seed: int,
    device: DeviceSettings,
) -> list[RunFolder]:
    """Fuse the baselines into ``out/fusion-<name>`` for each name: a late head (None), or a trained one's settings.

    Raises:
        RunError: If a baseline is unfinished or of another cohort or other folds.
        CohortError, SettingsError: If a trained head's settings do not fit the cohort or the baselines.
    """
    runs = []
    for name, settings in heads.items():
        run = RunFolder(out / f"fusion-{name}")
        if settings is None:
            fuse_late(cohort, baselines, name, run)
        else:
            train_head(cohort, baselines, settings, run, seed=seed, fabric=make_fabric(device, "32-true"))
        runs.append(run)
    return runs


def head_settings(heads: Iterable[str], changes: dict[str, Any], where: str) -> dict[str, HeadSettings | None]:
    """Names of heads to what `run_fusions` takes; ``changes`` are those to the settings of the trained ones.

    Raises:
        SettingsError: If a head does not exist, naming the known ones, or a change does not fit.
    """
    known = (*LATE_HEADS, *TRAINED_HEADS)
    if unknown := [head for head in heads if head not in known]:
        raise SettingsError(f"{where}: unknown head {unknown[0]!r}.", f"Known: {', '.join(known)}.")
    given = {key: value for key, value in changes.items() if value is not None}
    return {h: None if h in LATE_HEADS else HeadSettings.read({"head": h, **given}, where) for h in heads}


def experiment_heads(experiment: ExperimentSettings, where: str) -> dict[str, HeadSettings | None]:
    """The heads of an experiment and the variants of them that it names, in its order.

    Raises:
        SettingsError: As `head_settings`.
    """
    heads = head_settings(experiment.heads, experiment.head, where)
    for name, changes in experiment.variants.items():
        head = str(changes.get("head", name))
        varied = {**experiment.head, **{key: value for key, value in changes.items() if key != "head"}}
        heads[name] = head_settings([head], varied, f"{where}, variant {name}")[head]
    return heads


def read_experiment(path: Path) -> ExperimentSettings:
    """Read and check an experiment file.

    Raises:
        SettingsError: If it is not TOML, has an unknown key, or names a head that does not exist.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read as TOML ({error}).") from None
    experiment = ExperimentSettings.read(values, str(path))
    experiment_heads(experiment, str(path))
    return experiment


def experiment_cohort(experiment: ExperimentSettings, file: Path) -> Cohort:
    """The cohort that an experiment asks for."""
    if experiment.cohort is None:
        return open_phantom(experiment.phantom)
    return load_cohort(file.parent / experiment.cohort)


def experiment_fits(experiment: ExperimentSettings, where: str) -> dict[str, FitSettings]:
    """Settings of each backbone's fits, by backbone.

    Raises:
        SettingsError: If a change to the preset does not fit.
    """
    preset = resolve_fit(experiment.preset, experiment.fit, where)
    return {name: preset.model_copy(update={"backbone": name}) for name in experiment.backbones or [preset.backbone]}


def run_experiment(
    experiment: ExperimentSettings, cohort: Cohort, fits: dict[str, FitSettings], out: Path, device: DeviceSettings
) -> list[RunFolder]:
    """Run everything that an experiment names, one after another; finished runs are kept.

    Runs lie in ``out/<backbone>/seed-<seed>/``, without the level of which there is only one.
    """
    runs = []
    for backbone, fit in fits.items():
        for seed in experiment.seeds:
            levels = [backbone] * (len(fits) > 1) + [f"seed-{seed}"] * (len(experiment.seeds) > 1)
            folder = out.joinpath(*levels)
            modalities = experiment.modalities or list(cohort.modalities)
            protocol = experiment.protocol
            baselines = run_baselines(cohort, modalities, fit, folder, protocol=protocol, seed=seed, device=device)
            heads = experiment_heads(experiment, experiment.name)
            runs += [*baselines, *run_fusions(cohort, baselines, heads, folder, seed=seed, device=device)]
    return runs
