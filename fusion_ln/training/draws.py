"""Training of the same models on several draws of a cohort: repeats, and parts of the training patients."""

from collections.abc import Collection, Sequence
from pathlib import Path

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.draws import Draw, draw_fractions, draw_repeats, save_draws
from fusion_ln.images.bank import open_bank
from fusion_ln.progress import say
from fusion_ln.runs import RunFolder
from fusion_ln.settings.base import Protocol
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import BaselineSettings, FitSettings
from fusion_ln.training.crossval import new_baseline_record
from fusion_ln.training.draw_settings import DrawSettings
from fusion_ln.training.parts import check_classes
from fusion_ln.training.preflight import Heads, check_fusible, check_fusions, leave_out_untaught
from fusion_ln.training.room import RoomNeeded, baseline_needs, check_room, fusion_needs
from fusion_ln.training.run import plan_baselines, run_baselines_and_fusions


def plan_draws(cohort: Cohort, out: Path, settings: DrawSettings, *, seed: int) -> list[Draw]:
    """Draw what the settings ask for; the first draw is the cohort itself, with its runs in ``out``.

    Nothing is written.

    Raises:
        CohortError, RunError: See `draw_repeats` and `draw_fractions`.
    """
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

    Raises:
        CohortError, RunError, SettingsError: Before the first training, if some draw lacks a class where it is needed
            or a disk the room for all of them; nothing is written then. See `run_baselines_and_fusions`.
    """
    if len(draws) > 1:
        _check_draws(draws, modalities, heads, fit, protocol)
        save_draws(draws[1:])
    made = []
    for number, draw in enumerate(draws):
        if len(draws) > 1:
            say(f"{number + 1} of {len(draws)}: {draw.folder}")
        made.append(
            run_baselines_and_fusions(
                draw.cohort, modalities, heads, fit, draw.folder, protocol=protocol, seed=draw.seed, device=device
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
        needs += [*baseline_needs(draw.cohort, planned), *fusion_needs(draw.cohort, planned, heads, draw.folder)]
    check_room(needs)
    for modality in modalities:
        bank = open_bank(draws[0].cohort, modality, fit.image_size)
        for draw in draws:
            check_classes(draw.cohort, bank, BaselineSettings(modality=modality, fit=fit))
