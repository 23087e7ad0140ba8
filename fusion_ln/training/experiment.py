"""Sets of runs: the baselines of a cohort, their fusions, and experiments made of them."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fusion_ln.cohort.cohort import Cohort, load_cohort
from fusion_ln.cohort.default import open_organs, open_phantom
from fusion_ln.compute.processes import run_jobs
from fusion_ln.errors import CohortError, SettingsError, unknown
from fusion_ln.files import as_file_name
from fusion_ln.heads import LATE_HEADS, TRAINED_HEADS
from fusion_ln.runs import RunFolder
from fusion_ln.settings import (
    PRETRAIN_PATIENCE,
    BaselineSettings,
    DeviceSettings,
    ExperimentSettings,
    FitSettings,
    HeadSettings,
    PretrainSettings,
    Protocol,
    resolve_fit,
)
from fusion_ln.training.crossval import begin, cross_fits, finish
from fusion_ln.training.fusion.heads import train_head
from fusion_ln.training.fusion.late import finished_baseline, fuse_late
from fusion_ln.training.pretraining.leakage import refuse_shared_pictures
from fusion_ln.training.pretraining.pretrain import pretrain
from fusion_ln.tuning.space import changed

PRETRAINED = "pretrained"  # among the weights of an experiment
TUNED = "tuned"  # folder of the tuned runs
AUTO = DeviceSettings()  # a GPU if there is one, else all cores of this machine


def run_baselines(
    cohort: Cohort,
    modalities: Sequence[str],
    fit: FitSettings,
    out: Path,
    *,
    protocol: Protocol = "nested",
    seed: int = 0,
    device: DeviceSettings = AUTO,
    tuned: Mapping[str, dict[str, Any]] = MappingProxyType({}),
) -> list[RunFolder]:
    """Train ``out/baseline-<modality>`` for each modality, or keep what is there already.

    ``tuned`` are changes to the settings by the name of the run.

    Raises:
        CohortError, RunError, SettingsError, WeightsError: Before any training, if something does not fit.
        DivergedError: If a loss stops being a number; the finished folds stay.
    """
    refuse_shared_pictures(cohort, modalities, fit.weights)
    wanted = baselines_in(out, modalities, fit, protocol=protocol, seed=seed, tuned=tuned)
    train_baselines(cohort, wanted, device)
    return list(wanted)


def baselines_in(
    out: Path,
    modalities: Sequence[str],
    fit: FitSettings,
    *,
    protocol: Protocol,
    seed: int,
    tuned: Mapping[str, dict[str, Any]] = MappingProxyType({}),
) -> dict[RunFolder, BaselineSettings]:
    """Where the baseline of each modality lies, and what it is."""
    names = {modality: as_file_name(f"baseline-{modality}") for modality in modalities}
    return {
        RunFolder(out / name): BaselineSettings(
            modality=modality, fit=changed(fit, tuned.get(name, {})), protocol=protocol, seed=seed
        )
        for modality, name in names.items()
    }


def train_baselines(cohort: Cohort, wanted: dict[RunFolder, BaselineSettings], device: DeviceSettings) -> None:
    """Do all fits of all runs, at once where there is room for them; see `run_baselines`."""
    jobs = [job for run, settings in wanted.items() for job in begin(cohort, settings, run, device)]
    run_jobs(jobs, n_folds=cohort.n_folds)
    for run in wanted:
        finish(run)


def run_fusions(
    cohort: Cohort,
    baselines: list[RunFolder],
    heads: Mapping[str, HeadSettings | None],
    out: Path,
    *,
    seed: int = 0,
    device: DeviceSettings = AUTO,
) -> list[RunFolder]:
    """Fuse the baselines into ``out/fusion-<name>`` for each name: a late head (None), or a trained one's settings.

    Raises:
        RunError: If a baseline is unfinished or of another cohort or other folds.
        CohortError, SettingsError: If a trained head's settings do not fit the cohort or the baselines.
    """
    fit_crosswise(cohort, baselines, heads.values(), device)
    runs = []
    for name, settings in heads.items():
        run = RunFolder(out / fusion_name(name))
        if settings is None:
            fuse_late(cohort, baselines, name, run)
        else:
            train_head(cohort, baselines, settings, run, seed=seed, device=device.one_device)
        runs.append(run)
    return runs


def fit_crosswise(
    cohort: Cohort, baselines: list[RunFolder], heads: Iterable[HeadSettings | None], device: DeviceSettings
) -> None:
    """Do the further fits that cross-fitted tokens need, if one of the heads takes such."""
    if any(settings and settings.tokens == "cross-fitted" for settings in heads):
        jobs = [
            job
            for baseline in baselines
            for job in cross_fits(cohort, finished_baseline(cohort, baseline), baseline, device)
        ]
        run_jobs(jobs, n_folds=cohort.n_folds)


def fusion_name(head: str) -> str:
    """Of the run of a head."""
    return f"fusion-{head}"


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
    _check_fusible(cohort, modalities, heads)
    baselines = run_baselines(cohort, modalities, fit, out, protocol=protocol, seed=seed, device=device)
    return [*baselines, *run_fusions(cohort, baselines, heads, out, seed=seed, device=device)]


def _check_fusible(cohort: Cohort, modalities: list[str], heads: dict[str, HeadSettings | None]) -> None:
    if heads and len(modalities) < 2:
        raise CohortError(
            f"cohort {cohort.name}: one modality ({', '.join(modalities)}), so there is nothing to fuse.",
            "Train it alone with `fusionln run baseline --modality`.",
        )


def head_settings(heads: Iterable[str], changes: dict[str, Any], where: str) -> dict[str, HeadSettings | None]:
    """Names of heads to what `run_fusions` takes; ``changes`` are those to the settings of the trained ones.

    Raises:
        SettingsError: If a head does not exist, naming the known ones, or a change does not fit.
    """
    known = (*LATE_HEADS, *TRAINED_HEADS)
    if absent := [head for head in heads if head not in known]:
        raise SettingsError(*unknown("head", absent[0], known, where=where))
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
    heads = experiment_heads(experiment, str(path))
    if absent := [n for n in experiment.tuned if not n.startswith("baseline-") and n not in map(fusion_name, heads)]:
        raise SettingsError(f"{path}: tuned.{absent[0]}: no run of that name.", "As in `tuned.baseline-2d`.")
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
    """Run everything that an experiment names: all baselines first, then their fusions; finished runs are kept.

    Runs lie in ``out/<backbone>/<weights>/seed-<seed>/``, without the level of which there is only one; tuned ones lie
    in a folder ``tuned`` of that.

    Raises:
        CohortError: If there is but one modality to fuse; before any training.
    """
    modalities = experiment.modalities or list(cohort.modalities)
    heads = experiment_heads(experiment, experiment.name)
    _check_fusible(cohort, modalities, heads)
    ladders: list[tuple[Path, int, FitSettings, dict[RunFolder, BaselineSettings]]] = []
    for backbone, fit in fits.items():
        own = out / backbone if len(fits) > 1 else out
        starts = {name: starting_from(name, fit, own, device) for name in experiment.weights or [fit.weights]}
        for (name, start), seed in product(starts.items(), experiment.seeds):
            refuse_shared_pictures(cohort, modalities, start.weights)
            levels = [as_file_name(name)] * (len(starts) > 1) + [f"seed-{seed}"] * (len(experiment.seeds) > 1)
            place = own.joinpath(*levels)
            wanted = baselines_in(place, modalities, start, protocol=experiment.protocol, seed=seed)
            ladders.append((place, seed, start, wanted))
    train_baselines(cohort, {run: settings for *_, wanted in ladders for run, settings in wanted.items()}, device)
    runs: list[RunFolder] = []
    for place, seed, start, wanted in ladders:
        if experiment.tuned:
            runs += run_tuned(experiment, cohort, start, place, seed=seed, device=device)
        runs += [*wanted, *run_fusions(cohort, list(wanted), heads, place, seed=seed, device=device)]
    return runs


def run_tuned(
    experiment: ExperimentSettings, cohort: Cohort, fit: FitSettings, place: Path, *, seed: int, device: DeviceSettings
) -> list[RunFolder]:
    """The tuned runs of one seed, in ``place/tuned``; late fusions only where the baselines are tuned."""
    baselines = run_members(experiment, cohort, fit, place, seed=seed, device=device)
    tuned = [run for run in baselines if run.root.parent.name == TUNED]
    heads: dict[str, HeadSettings | None] = {}
    for name, settings in experiment_heads(experiment, experiment.name).items():
        if settings is not None and fusion_name(name) in experiment.tuned:
            heads[name] = changed(settings, experiment.tuned[fusion_name(name)])
        elif settings is None and tuned:
            heads[name] = None
    return [*tuned, *run_fusions(cohort, baselines, heads, place / TUNED, seed=seed, device=device)]


def run_members(
    experiment: ExperimentSettings, cohort: Cohort, fit: FitSettings, place: Path, *, seed: int, device: DeviceSettings
) -> list[RunFolder]:
    """The baselines that tuned heads stand on: in ``place/tuned`` if they are tuned themselves, else in ``place``."""
    is_tuned = any(name.startswith("baseline-") for name in experiment.tuned)
    return run_baselines(
        cohort,
        experiment.modalities or list(cohort.modalities),
        fit,
        place / TUNED if is_tuned else place,
        protocol=experiment.protocol,
        seed=seed,
        device=device,
        tuned=experiment.tuned,
    )


def starting_from(weights: str, fit: FitSettings, out: Path, device: DeviceSettings) -> FitSettings:
    """The settings with these weights; of ``pretrained``, after the pre-training in ``out/pretraining``."""
    if weights != PRETRAINED:
        return fit.model_copy(update={"weights": weights})
    run = RunFolder(out / "pretraining")
    learnt = fit.model_copy(update={"weights": "scratch", "patience": PRETRAIN_PATIENCE})
    where = device.one_device if device.engine == "ray" else device
    pretrain(open_organs(fit.image_size), PretrainSettings(fit=learnt), run, where)
    return fit.model_copy(update={"weights": str(run.root)})
