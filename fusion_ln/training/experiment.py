"""Experiments: their files, and the runs that they name."""

import tomllib
from itertools import product
from pathlib import Path

from fusion_ln.cohort.cohort import Cohort, load_cohort
from fusion_ln.cohort.default import open_organs, open_phantom
from fusion_ln.errors import SettingsError
from fusion_ln.files import as_file_name
from fusion_ln.runs import RunFolder
from fusion_ln.settings import (
    PRETRAIN_PATIENCE,
    BaselineSettings,
    DeviceSettings,
    ExperimentSettings,
    FitSettings,
    HeadSettings,
    PretrainSettings,
    resolve_fit,
)
from fusion_ln.training.pretraining.leakage import refuse_shared_pictures
from fusion_ln.training.pretraining.pretrain import pretrain
from fusion_ln.training.run import (
    check_fusible,
    fusion_name,
    head_settings,
    plan_baselines,
    run_baselines,
    run_fusions,
    train_baselines,
)

PRETRAINED = "pretrained"  # among the weights of an experiment
TUNED = "tuned"  # folder of the tuned runs


def experiment_heads(experiment: ExperimentSettings, where: str) -> dict[str, HeadSettings | None]:
    """Read the heads of an experiment and the variants of them that it names, in its order.

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
    """Open the cohort of an experiment."""
    if experiment.cohort is None:
        return open_phantom(experiment.phantom)
    return load_cohort(file.parent / experiment.cohort)


def experiment_fits(experiment: ExperimentSettings, where: str) -> dict[str, FitSettings]:
    """Resolve the settings of each backbone's fits, by backbone.

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
    check_fusible(cohort, modalities, heads)
    planned: list[tuple[Path, int, FitSettings, dict[RunFolder, BaselineSettings]]] = []
    for backbone, fit in fits.items():
        backbone_folder = out / backbone if len(fits) > 1 else out
        weights = experiment.weights or [fit.weights]
        starts = {name: resolve_weights(name, fit, backbone_folder, device) for name in weights}
        for (name, start), seed in product(starts.items(), experiment.seeds):
            refuse_shared_pictures(cohort, modalities, start.weights)
            levels = [as_file_name(name)] * (len(starts) > 1) + [f"seed-{seed}"] * (len(experiment.seeds) > 1)
            folder = backbone_folder.joinpath(*levels)
            baselines = plan_baselines(folder, modalities, start, protocol=experiment.protocol, seed=seed)
            planned.append((folder, seed, start, baselines))
    train_baselines(cohort, {run: settings for *_, baselines in planned for run, settings in baselines.items()}, device)
    runs: list[RunFolder] = []
    for folder, seed, start, baselines in planned:
        if experiment.tuned:
            runs += run_tuned(experiment, cohort, start, folder, seed=seed, device=device)
        runs += [*baselines, *run_fusions(cohort, list(baselines), heads, folder, seed=seed, device=device)]
    return runs


def run_tuned(
    experiment: ExperimentSettings, cohort: Cohort, fit: FitSettings, folder: Path, *, seed: int, device: DeviceSettings
) -> list[RunFolder]:
    """Run the tuned runs of one seed, in ``folder/tuned``; late fusions only where the baselines are tuned."""
    baselines = run_members(experiment, cohort, fit, folder, seed=seed, device=device)
    tuned = baselines if tunes_baselines(experiment) else []
    heads: dict[str, HeadSettings | None] = {}
    for name, settings in experiment_heads(experiment, experiment.name).items():
        if settings is not None and fusion_name(name) in experiment.tuned:
            heads[name] = settings.with_changes(experiment.tuned[fusion_name(name)])
        elif settings is None and tuned:
            heads[name] = None
    return [*tuned, *run_fusions(cohort, baselines, heads, folder / TUNED, seed=seed, device=device)]


def tunes_baselines(experiment: ExperimentSettings) -> bool:
    """Check if an experiment has tuned settings of a baseline."""
    return any(name.startswith("baseline-") for name in experiment.tuned)


def run_members(
    experiment: ExperimentSettings, cohort: Cohort, fit: FitSettings, folder: Path, *, seed: int, device: DeviceSettings
) -> list[RunFolder]:
    """Run the baselines of tuned heads: in ``folder/tuned`` if they are tuned themselves, else in ``folder``."""
    return run_baselines(
        cohort,
        experiment.modalities or list(cohort.modalities),
        fit,
        folder / TUNED if tunes_baselines(experiment) else folder,
        protocol=experiment.protocol,
        seed=seed,
        device=device,
        tuned=experiment.tuned,
    )


def resolve_weights(weights: str, fit: FitSettings, out: Path, device: DeviceSettings) -> FitSettings:
    """Set the weights of a fit; for ``pretrained``, run the pre-training in ``out/pretraining`` first."""
    if weights != PRETRAINED:
        return fit.model_copy(update={"weights": weights})
    run = RunFolder(out / "pretraining")
    pretraining_fit = fit.model_copy(update={"weights": "scratch", "patience": PRETRAIN_PATIENCE})
    where = device.one_device if device.engine == "ray" else device
    pretrain(open_organs(fit.image_size), PretrainSettings(fit=pretraining_fit), run, where)
    return fit.model_copy(update={"weights": str(run.root)})
