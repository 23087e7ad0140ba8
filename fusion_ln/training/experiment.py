"""Sets of runs: the baselines of a cohort, their fusions, and experiments made of them."""

import tomllib
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

from fusion_ln.cohort.cohort import Cohort, load_cohort
from fusion_ln.cohort.default import open_organs, open_phantom
from fusion_ln.errors import CohortError, SettingsError
from fusion_ln.runs import RunFolder, as_file_name
from fusion_ln.settings import BaselineSettings, ExperimentSettings, FitSettings, HeadSettings, Protocol, resolve_fit
from fusion_ln.terms import LATE_HEADS, TRAINED_HEADS
from fusion_ln.training.crossval import begin, cross_fits, finish
from fusion_ln.training.device import DeviceSettings
from fusion_ln.training.fuse import finished_baseline, fuse_late
from fusion_ln.training.heads import train_head
from fusion_ln.training.overlap import refuse_shared_pictures
from fusion_ln.training.pretrain import PATIENCE, PretrainSettings, pretrain
from fusion_ln.training.scale import run_jobs

PRETRAINED = "pretrained"  # among the weights of an experiment


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
    refuse_shared_pictures(cohort, modalities, fit.weights)
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
    if any(settings and settings.tokens == "cross-fitted" for settings in heads.values()):
        jobs = [
            job
            for baseline in baselines
            for job in cross_fits(cohort, finished_baseline(cohort, baseline), baseline, device)
        ]
        run_jobs(jobs, n_folds=cohort.n_folds)
    runs = []
    for name, settings in heads.items():
        run = RunFolder(out / f"fusion-{name}")
        if settings is None:
            fuse_late(cohort, baselines, name, run)
        else:
            train_head(cohort, baselines, settings, run, seed=seed, device=device)
        runs.append(run)
    return runs


def run_ladder(
    cohort: Cohort,
    modalities: list[str],
    heads: dict[str, HeadSettings | None],
    fit: FitSettings,
    out: Path,
    *,
    protocol: Protocol,
    seed: int,
    device: DeviceSettings,
) -> list[RunFolder]:
    """The baselines of some modalities and their fusions; see `run_baselines` and `run_fusions`.

    Raises:
        CohortError: If there is but one modality to fuse; before any training.
    """
    if heads and len(modalities) < 2:
        raise CohortError(
            f"cohort {cohort.name}: one modality ({', '.join(modalities)}), so there is nothing to fuse.",
            "Train it alone with `fusionln run baseline --modality`.",
        )
    baselines = run_baselines(cohort, modalities, fit, out, protocol=protocol, seed=seed, device=device)
    return [*baselines, *run_fusions(cohort, baselines, heads, out, seed=seed, device=device)]


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

    Runs lie in ``out/<backbone>/<weights>/seed-<seed>/``, without the level of which there is only one.
    """
    runs: list[RunFolder] = []
    modalities = experiment.modalities or list(cohort.modalities)
    heads = experiment_heads(experiment, experiment.name)
    for backbone, fit in fits.items():
        own = out / backbone if len(fits) > 1 else out
        starts = {name: _starting_from(name, fit, own, device) for name in experiment.weights or [fit.weights]}
        for (name, start), seed in product(starts.items(), experiment.seeds):
            levels = [as_file_name(name)] * (len(starts) > 1) + [f"seed-{seed}"] * (len(experiment.seeds) > 1)
            runs += run_ladder(
                cohort,
                modalities,
                heads,
                start,
                own.joinpath(*levels),
                protocol=experiment.protocol,
                seed=seed,
                device=device,
            )
    return runs


def _starting_from(weights: str, fit: FitSettings, out: Path, device: DeviceSettings) -> FitSettings:
    """The settings with these weights; of ``pretrained``, after the pre-training in ``out/pretraining``."""
    if weights != PRETRAINED:
        return fit.model_copy(update={"weights": weights})
    run = RunFolder(out / "pretraining")
    learnt = fit.model_copy(update={"weights": "scratch", "patience": PATIENCE})
    one = device.model_copy(update={"devices": 1})  # a batch trains one head: its others have nothing to share
    pretrain(open_organs(fit.image_size), PretrainSettings(fit=learnt), run, one)
    return fit.model_copy(update={"weights": str(run.root)})
