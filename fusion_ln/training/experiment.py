"""Sets of runs: the baselines of a cohort, their fusions, and experiments made of them."""

import tomllib
from pathlib import Path

from fusion_ln.cohort.cohort import Cohort, load_cohort
from fusion_ln.cohort.default import open_phantom
from fusion_ln.errors import SettingsError
from fusion_ln.models.late import LATE
from fusion_ln.runs import RunFolder
from fusion_ln.settings import BaselineSettings, ExperimentSettings, FitSettings, Protocol, resolve_fit
from fusion_ln.training.crossval import begin, finish
from fusion_ln.training.device import DeviceSettings
from fusion_ln.training.fuse import fuse_late
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


def run_fusions(cohort: Cohort, baselines: list[RunFolder], heads: list[str], out: Path) -> list[RunFolder]:
    """Fuse the baselines into ``out/fusion-<head>`` for each head."""
    runs = []
    for head in heads:
        run = RunFolder(out / f"fusion-{head}")
        fuse_late(cohort, baselines, head, run)
        runs.append(run)
    return runs


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
    check_heads(experiment.heads, str(path))
    return experiment


def check_heads(heads: list[str], where: str) -> None:
    """Refuse a head that does not exist.

    Raises:
        SettingsError: Naming the known ones.
    """
    if unknown := [head for head in heads if head not in LATE]:
        raise SettingsError(f"{where}: unknown head {unknown[0]!r}.", f"Known: {', '.join(LATE)}.")


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
            runs += [*baselines, *run_fusions(cohort, baselines, experiment.heads, folder)]
    return runs
