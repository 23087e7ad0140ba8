"""Training of the same models on several draws of a cohort: repeats, and parts of the training patients."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.default import open_cohort
from fusion_ln.cohort.draws import Draw, draw_fractions, draw_repeats, save_draws
from fusion_ln.compute.engines import join_as_worker, validate_compute
from fusion_ln.files.folders import refuse_taken
from fusion_ln.models.backbones import check_backbone
from fusion_ln.progress import say
from fusion_ln.runs import RunFolder
from fusion_ln.settings.base import Protocol
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.draws import DrawSettings
from fusion_ln.settings.training import PRETRAINED, FitSettings
from fusion_ln.terms import PAGE_RECORD
from fusion_ln.training.crossval import new_baseline_record
from fusion_ln.training.parts import check_patients
from fusion_ln.training.preflight import (
    Heads,
    check_fusible,
    check_fusion_folders,
    check_fusions,
    check_options,
    leave_out_untaught,
)
from fusion_ln.training.pretraining.start import resolve_weights, start_folder, start_from
from fusion_ln.training.room import RoomNeeded, baseline_needs, check_room, fusion_needs
from fusion_ln.training.run import plan_baselines, run_baselines_and_fusions


@dataclass(frozen=True)
class TrainingPlan:
    """Plan of a command that trains baselines.

    Attributes:
        draws: The cohort under its own folds first, then any further draws.
    """

    draws: list[Draw]
    fit: FitSettings
    protocol: Protocol
    device: DeviceSettings

    @property
    def cohort(self) -> Cohort:
        return self.draws[0].cohort

    @property
    def start(self) -> RunFolder | None:
        """Pre-training that is made first, for the baselines of all draws."""
        return start_folder(self.draws[0].folder) if self.fit.weights == PRETRAINED else None


def plan_training(
    folder: Path | None,
    out: Path | None,
    fit: FitSettings,
    heads: Heads,
    further: DrawSettings,
    *,
    protocol: Protocol,
    seed: int,
    device: DeviceSettings,
) -> TrainingPlan | None:
    """Check settings and devices, then open the cohort and draw it; what is wrong is refused before any simulation.

    Args:
        folder: The cohort's; without one, the default phantom.
        out: Folder of the runs; by default ``runs/COHORT``.
        fit, protocol, seed: Of the baselines.
        heads: Heads that will fuse them.
        further: Further draws of the cohort.
        device: The devices that train.

    Returns:
        None in a process that helped another with its fits and has nothing left to do.
    """
    check_backbone(fit.backbone)
    validate_compute(device, fit)
    if join_as_worker(device):
        return None
    check_options(fit, heads)
    cohort = open_cohort(folder)
    draws = plan_draws(cohort, out or Path("runs") / cohort.name, further, seed=seed)
    return TrainingPlan(draws, fit, protocol, device)


def plan_draws(cohort: Cohort, out: Path, settings: DrawSettings, *, seed: int) -> list[Draw]:
    """Draw what the settings ask for; the first draw is the cohort itself, with its runs in ``out``.

    Nothing is written.

    Raises:
        CohortError, RunError: See `draw_repeats` and `draw_fractions`; or ``out`` holds something else than runs.
    """
    refuse_taken(out, PAGE_RECORD)
    if settings.fractions:
        return draw_fractions(cohort, out, fractions=settings.fractions, seed=seed)
    return draw_repeats(cohort, out, repeats=settings.repeats, seed=seed)


def teachable_heads(draws: Sequence[Draw], modalities: Collection[str], heads: Heads, named: Collection[str]) -> Heads:
    """Leave out late heads that nobody named and that could not learn in some draw; see `leave_out_untaught`."""
    for draw in draws:
        heads = leave_out_untaught(draw.cohort, modalities, heads, named)
    return heads


def run_draws(
    draws: Sequence[Draw],
    modalities: list[str],
    heads: Heads,
    fit: FitSettings,
    *,
    protocol: Protocol,
    device: DeviceSettings,
) -> list[list[RunFolder]]:
    """Train the baselines of all draws and fuse them; finished runs are kept. Returns the runs of each draw.

    A pre-training that the baselines start from is made beside the runs of the first draw, and serves all.

    Raises:
        CohortError, RunError, SettingsError: Before the first training, if some draw lacks a class where it is needed
            or a disk the room for all of them; nothing is written then. See `run_baselines_and_fusions`.
    """
    first = draws[0].folder
    if len(draws) > 1 or fit.weights == PRETRAINED:
        _check_draws(draws, modalities, heads, start_from(fit.weights, fit, first), protocol)
    start = resolve_weights(fit.weights, fit, first, device)
    if len(draws) > 1:
        save_draws(draws[1:])
    made = []
    for number, draw in enumerate(draws):
        if len(draws) > 1:
            say(f"{number + 1} of {len(draws)}: {draw.folder}")
        made.append(
            run_baselines_and_fusions(
                draw.cohort, modalities, heads, start, draw.folder, protocol=protocol, seed=draw.seed, device=device
            )
        )
    return made


def _check_draws(
    draws: Sequence[Draw], modalities: list[str], heads: Heads, fit: FitSettings, protocol: Protocol
) -> None:
    """Check all draws before the first fit, and the room for the files of all."""
    needs: list[RoomNeeded] = []
    for draw in draws:
        check_fusible(draw.cohort, modalities, heads)
        check_fusions(draw.cohort, dict.fromkeys(modalities, fit), heads)
        planned = plan_baselines(draw.folder, modalities, fit, protocol=protocol, seed=draw.seed)
        for run, settings in planned.items():
            run.holds(new_baseline_record(draw.cohort, settings))
        check_fusion_folders(draw.cohort, planned, heads, draw.folder, seed=draw.seed)
        needs += [*baseline_needs(draw.cohort, planned), *fusion_needs(draw.cohort, planned, heads, draw.folder)]
    check_room(needs)
    for modality in modalities:
        for draw in draws:
            check_patients(draw.cohort, modality)
