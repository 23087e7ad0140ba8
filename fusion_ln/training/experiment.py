"""Experiments: the runs that their files name."""

from itertools import product
from pathlib import Path

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.default import open_phantom
from fusion_ln.cohort.folder import load_cohort
from fusion_ln.models.rehearsal import check_weights
from fusion_ln.runs import RunFolder, RunKey
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import PRETRAINED, BaselineSettings, FitSettings
from fusion_ln.training.experiment_file import ExperimentSettings, experiment_heads, fusion_name
from fusion_ln.training.preflight import check_fusible, check_fusion_folders, check_fusions, check_networks
from fusion_ln.training.pretraining.leakage import refuse_shared_pictures
from fusion_ln.training.pretraining.start import resolve_weights
from fusion_ln.training.room import RoomNeeded, baseline_needs, check_room, fusion_needs
from fusion_ln.training.run import fuse, plan_baselines, run_planned, train_baselines

TUNED = "tuned"  # folder of the tuned runs


def experiment_cohort(experiment: ExperimentSettings, file: Path) -> Cohort:
    """Open the cohort of an experiment."""
    if experiment.cohort is None:
        return open_phantom(experiment.phantom)
    return load_cohort(file.parent / experiment.cohort)


def run_experiment(
    experiment: ExperimentSettings, cohort: Cohort, fits: dict[str, FitSettings], out: Path, device: DeviceSettings
) -> list[RunFolder]:
    """Run everything that an experiment names: all baselines first, then their fusions; finished runs are kept.

    Runs lie in ``out/<backbone>/<weights>/seed-<seed>/``, without the level of which there is only one; tuned ones lie
    in a folder ``tuned`` of that.

    Raises:
        CohortError, RunError, SettingsError, WeightsError: Before any training, if some run cannot be had or written.
    """
    modalities = experiment.modalities or list(cohort.modalities)
    heads = experiment_heads(experiment, experiment.name)
    check_fusible(cohort, modalities, heads)
    check_experiment(experiment, cohort, fits)
    planned: list[tuple[Path, int, FitSettings, dict[RunFolder, BaselineSettings]]] = []
    levels = folder_levels(experiment)
    for (backbone, fit), seed in product(fits.items(), experiment.seeds):
        for name in experiment.weights or [fit.weights]:
            folder = out / RunKey(backbone, name, seed).folder(levels)
            runs = plan_baselines(folder, modalities, fit, protocol=experiment.protocol, seed=seed)
            if name != PRETRAINED and not all(run.finished for run in runs):
                check_weights(fit.backbone, fit.image_size, name)
    check_room(experiment_needs(experiment, cohort, fits, out))
    for backbone, fit in fits.items():
        weights = experiment.weights or [fit.weights]
        backbone_folder = out / RunKey(backbone, "", 0).folder(levels & {"backbone"})
        starts = {name: resolve_weights(name, fit, backbone_folder, device) for name in weights}
        for (name, start), seed in product(starts.items(), experiment.seeds):
            refuse_shared_pictures(cohort, modalities, start.weights)
            folder = out / RunKey(backbone, name, seed).folder(levels)
            baselines = plan_baselines(folder, modalities, start, protocol=experiment.protocol, seed=seed)
            planned.append((folder, seed, start, baselines))
            check_fusion_folders(cohort, baselines, heads, folder, seed=seed)
            if experiment.tuned:
                members = plan_members(experiment, cohort, start, folder, seed=seed)
                check_fusion_folders(cohort, members, tuned_heads(experiment), folder / TUNED, seed=seed)
    train_baselines(cohort, {run: settings for *_, baselines in planned for run, settings in baselines.items()}, device)
    made: list[RunFolder] = []
    for folder, seed, start, baselines in planned:
        if experiment.tuned:
            made += run_tuned(experiment, cohort, start, folder, seed=seed, device=device)
        made += [*baselines, *fuse(cohort, list(baselines), heads, folder, seed=seed, device=device)]
    return made


def experiment_needs(
    experiment: ExperimentSettings, cohort: Cohort, fits: dict[str, FitSettings], out: Path
) -> list[RoomNeeded]:
    """List what the runs of an experiment still have to write."""
    modalities = experiment.modalities or list(cohort.modalities)
    heads = experiment_heads(experiment, experiment.name)
    needs: list[RoomNeeded] = []
    for (backbone, fit), seed in product(fits.items(), experiment.seeds):
        for name in experiment.weights or [fit.weights]:
            folder = out / RunKey(backbone, name, seed).folder(folder_levels(experiment))
            runs = plan_baselines(folder, modalities, fit, protocol=experiment.protocol, seed=seed)
            needs += [*baseline_needs(cohort, runs), *fusion_needs(cohort, runs, heads, folder)]
            if experiment.tuned:
                needs += tuned_needs(experiment, cohort, fit, folder, seed=seed)
    return needs


def check_experiment(experiment: ExperimentSettings, cohort: Cohort, fits: dict[str, FitSettings]) -> None:
    """Check every run of an experiment, tuned ones too, before the first.

    Raises:
        CohortError, SettingsError: See `check_fusions`.
    """
    modalities = experiment.modalities or list(cohort.modalities)
    heads = experiment_heads(experiment, experiment.name)
    starts = [
        fit.model_copy(update={"weights": weights})
        for fit in fits.values()
        for weights in experiment.weights or [fit.weights]
    ]
    for start in starts:
        runs = [(dict.fromkeys(modalities, start), heads)]
        if experiment.tuned:
            planned = plan_baselines(Path(), modalities, start, protocol="nested", seed=0, tuned=experiment.tuned)
            runs.append(({settings.modality: settings.fit for settings in planned.values()}, tuned_heads(experiment)))
        for members, fused in runs:
            check_networks(members.values(), cohort.n_folds)
            check_fusions(cohort, members, fused)


def folder_levels(experiment: ExperimentSettings) -> set[str]:
    """Find the attributes of `RunKey` that differ between the runs of an experiment: each is a level of folders."""
    counts = {
        "backbone": len(experiment.backbones),
        "weights": len(experiment.weights),
        "seed": len(experiment.seeds),
    }
    return {level for level, count in counts.items() if count > 1}


def run_tuned(
    experiment: ExperimentSettings, cohort: Cohort, fit: FitSettings, folder: Path, *, seed: int, device: DeviceSettings
) -> list[RunFolder]:
    """Run the tuned runs of one seed, in ``folder/tuned``; late fusions only where the baselines are tuned."""
    baselines = run_members(experiment, cohort, fit, folder, seed=seed, device=device)
    tuned = baselines if tunes_baselines(experiment) else []
    heads = tuned_heads(experiment)
    return [*tuned, *fuse(cohort, baselines, heads, folder / TUNED, seed=seed, device=device)]


def tuned_needs(
    experiment: ExperimentSettings, cohort: Cohort, fit: FitSettings, folder: Path, *, seed: int
) -> list[RoomNeeded]:
    """List what the tuned runs of one seed still have to write."""
    members = plan_members(experiment, cohort, fit, folder, seed=seed)
    heads = fusion_needs(cohort, members, tuned_heads(experiment), folder / TUNED)
    return [*baseline_needs(cohort, members), *heads]


def tuned_heads(experiment: ExperimentSettings) -> dict[str, HeadSettings | None]:
    """Resolve the tuned heads of an experiment, and the late ones if the baselines are tuned."""
    heads: dict[str, HeadSettings | None] = {}
    for name, settings in experiment_heads(experiment, experiment.name).items():
        if settings is not None and fusion_name(name) in experiment.tuned:
            heads[name] = settings.with_changes(experiment.tuned[fusion_name(name)])
        elif settings is None and tunes_baselines(experiment):
            heads[name] = None
    return heads


def tunes_baselines(experiment: ExperimentSettings) -> bool:
    """Check if an experiment has tuned settings of a baseline."""
    return any(name.startswith("baseline-") for name in experiment.tuned)


def run_members(
    experiment: ExperimentSettings, cohort: Cohort, fit: FitSettings, folder: Path, *, seed: int, device: DeviceSettings
) -> list[RunFolder]:
    """Run the baselines of tuned heads; see `plan_members`."""
    members = plan_members(experiment, cohort, fit, folder, seed=seed)
    return run_planned(cohort, members, device)


def plan_members(
    experiment: ExperimentSettings, cohort: Cohort, fit: FitSettings, folder: Path, *, seed: int
) -> dict[RunFolder, BaselineSettings]:
    """Plan the baselines of tuned heads: in ``folder/tuned`` if they are tuned themselves, else in ``folder``."""
    return plan_baselines(
        folder / TUNED if tunes_baselines(experiment) else folder,
        experiment.modalities or list(cohort.modalities),
        fit,
        protocol=experiment.protocol,
        seed=seed,
        tuned=experiment.tuned,
    )
