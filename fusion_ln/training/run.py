"""Training of runs: the baselines of a cohort and their fusions."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.compute.engines import run_jobs
from fusion_ln.compute.job import Job
from fusion_ln.files.locks import locked
from fusion_ln.files.names import as_file_name
from fusion_ln.models.rehearsal import check_weights
from fusion_ln.runs import RunFolder
from fusion_ln.settings.base import Protocol
from fusion_ln.settings.devices import AUTO, DeviceSettings
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import BaselineSettings, FitSettings
from fusion_ln.terms import PATIENT
from fusion_ln.training.crossval import begin, cross_fit_jobs
from fusion_ln.training.experiment_file import fusion_name
from fusion_ln.training.fold_files import finish
from fusion_ln.training.fusion.head_job import train_heads
from fusion_ln.training.fusion.late import finished_baseline, fuse_late
from fusion_ln.training.fusion.token_job import token_jobs
from fusion_ln.training.preflight import check_fusible, check_fusion_folders, check_fusions, check_networks
from fusion_ln.training.pretraining.leakage import refuse_shared_pictures
from fusion_ln.training.room import baseline_needs, check_room, fusion_needs


def run_baselines(
    cohort: Cohort,
    modalities: Sequence[str],
    fit: FitSettings,
    out: Path,
    *,
    protocol: Protocol = "nested",
    seed: int = 0,
    device: DeviceSettings = AUTO,
    tuned: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
) -> list[RunFolder]:
    """Train ``out/baseline-<modality>`` for each modality, or keep what is there already.

    ``tuned`` are changes to the settings by the name of the run.

    Raises:
        CohortError, RunError, SettingsError, WeightsError: Before any training, if something does not fit.
        DivergedError: If a loss stops being a number; the finished folds stay.
    """
    return run_planned(cohort, plan_baselines(out, modalities, fit, protocol=protocol, seed=seed, tuned=tuned), device)


def run_planned(
    cohort: Cohort,
    planned: dict[RunFolder, BaselineSettings],
    device: DeviceSettings,
    heads: Collection[HeadSettings] = (),
) -> list[RunFolder]:
    """Check and train planned baselines for some trained heads; see `run_baselines`."""
    check_networks((settings.fit for settings in planned.values()), cohort.n_folds)
    for run, settings in planned.items():
        if not run.finished:
            check_weights(settings.fit.backbone, settings.fit.image_size, settings.fit.weights)
    for weights in sorted({settings.fit.weights for settings in planned.values()}):
        modalities = [settings.modality for settings in planned.values() if settings.fit.weights == weights]
        refuse_shared_pictures(cohort, modalities, weights)
    check_room(baseline_needs(cohort, planned))
    train_baselines(cohort, planned, device, heads)
    return list(planned)


def plan_baselines(
    out: Path,
    modalities: Sequence[str],
    fit: FitSettings,
    *,
    protocol: Protocol,
    seed: int,
    tuned: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
) -> dict[RunFolder, BaselineSettings]:
    """Plan the baseline of each modality: its folder and its settings."""
    names = {modality: as_file_name(f"baseline-{modality}") for modality in modalities}
    return {
        RunFolder(out / name): BaselineSettings(
            modality=modality, fit=fit.with_changes(tuned.get(name, {})), protocol=protocol, seed=seed
        )
        for modality, name in names.items()
    }


def train_baselines(
    cohort: Cohort,
    planned: dict[RunFolder, BaselineSettings],
    device: DeviceSettings,
    heads: Collection[HeadSettings] = (),
) -> None:
    """Train all folds of all runs, in parallel where there is room for them; see `run_baselines`.

    Beside the last fits, cores that would wait compute the tokens that ``heads`` will learn from.
    """
    with locked(*(run.lock for run in planned)):
        jobs: list[Job] = [job for run, settings in planned.items() for job in begin(cohort, settings, run, device)]
        if jobs and device.engine == "local":
            modalities = {run: settings.modality for run, settings in planned.items()}
            jobs += token_jobs(cohort, modalities, heads, device)
        run_jobs(jobs, shares=cohort.n_folds)
        for run in planned:
            finish(run, cohort.patients[PATIENT])


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
    fits = {s.modality: s.fit for s in (finished_baseline(cohort, baseline) for baseline in baselines)}
    check_fusions(cohort, fits, heads)
    return fuse(cohort, baselines, heads, out, seed=seed, device=device)


def fuse(
    cohort: Cohort,
    baselines: list[RunFolder],
    heads: Mapping[str, HeadSettings | None],
    out: Path,
    *,
    seed: int,
    device: DeviceSettings,
) -> list[RunFolder]:
    """Fuse the baselines with heads that are checked already; see `run_fusions`."""
    members = {baseline: finished_baseline(cohort, baseline) for baseline in baselines}
    check_fusion_folders(cohort, members, heads, out, seed=seed)
    cross_fit(cohort, baselines, heads.values(), device)
    runs = {RunFolder(out / fusion_name(name)): settings for name, settings in heads.items()}
    trained = {run: settings for run, settings in runs.items() if settings}
    if trained:
        train_heads(cohort, baselines, trained, seed=seed, device=device)
    for run, name in zip(runs, heads, strict=True):
        if run not in trained:
            with locked(run.lock):
                fuse_late(cohort, baselines, name, run)
    return list(runs)


def cross_fit(
    cohort: Cohort, baselines: list[RunFolder], heads: Iterable[HeadSettings | None], device: DeviceSettings
) -> None:
    """Fit the further networks that cross-fitted tokens need, if one of the heads takes such tokens."""
    if not any(settings and settings.tokens == "cross-fitted" for settings in heads):
        return
    with locked(*(baseline.lock for baseline in baselines)):
        jobs = [
            job
            for baseline in baselines
            for job in cross_fit_jobs(cohort, finished_baseline(cohort, baseline), baseline, device)
        ]
        run_jobs(jobs, shares=cohort.n_folds)


def run_baselines_and_fusions(
    cohort: Cohort,
    modalities: list[str],
    heads: Mapping[str, HeadSettings | None],
    fit: FitSettings,
    out: Path,
    *,
    protocol: Protocol,
    seed: int,
    device: DeviceSettings,
) -> list[RunFolder]:
    """Train the baselines of some modalities and fuse them; see `run_baselines` and `run_fusions`.

    Raises:
        CohortError, SettingsError: If there is but one modality to fuse, or a head cannot be had from the networks;
            before any training. See `check_fusions`.
        RunError: If the folder of a fusion holds another run; before any training, too.
    """
    check_fusible(cohort, modalities, heads)
    check_fusions(cohort, dict.fromkeys(modalities, fit), heads)
    planned = plan_baselines(out, modalities, fit, protocol=protocol, seed=seed)
    check_room([*baseline_needs(cohort, planned), *fusion_needs(cohort, planned, heads, out)])
    check_fusion_folders(cohort, planned, heads, out, seed=seed)
    unfinished = [head for name, head in heads.items() if head and not RunFolder(out / fusion_name(name)).finished]
    baselines = run_planned(cohort, planned, device, unfinished)
    return [*baselines, *fuse(cohort, baselines, heads, out, seed=seed, device=device)]
