"""Checks before the first fit: everything about networks, heads and folds that needs no training to be known."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from fusion_ln.cohort.clinical import check_columns
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import CohortError
from fusion_ln.models.late.base import load_late_head
from fusion_ln.models.rehearsal import check_head, check_network, check_tokens
from fusion_ln.progress import say
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import BaselineSettings, FitSettings
from fusion_ln.training.experiment_file import fusion_name
from fusion_ln.training.fusion.heads import new_head_record
from fusion_ln.training.fusion.late import check_teachable, new_late_record, untaught_class
from fusion_ln.training.parts import training_parts

Heads = Mapping[str, HeadSettings | None]  # by name; None: a late one


def check_options(fit: FitSettings, heads: Heads) -> None:
    """Check networks of one setting for all modalities, before there is a cohort.

    Raises:
        SettingsError: If there is no such network, it does not take the pictures, or gives no tokens to a trained head.
    """
    check_network(fit.backbone, fit.image_size)
    for settings in heads.values():
        if settings is not None:
            check_tokens({"all": fit}, settings)


def check_networks(fits: Iterable[FitSettings], n_folds: int) -> None:
    """Check that every fold's network takes its pictures.

    Raises:
        SettingsError: See `check_network`.
    """
    for fit in fits:
        for fold in range(n_folds):
            of_fold = fit.of_fold(fold)
            check_network(of_fold.backbone, of_fold.image_size)


def check_fusible(cohort: Cohort, modalities: Collection[str], heads: Heads) -> None:
    """Refuse to fuse a single modality.

    Raises:
        CohortError: If there are heads, but fewer than two modalities.
    """
    if heads and len(modalities) < 2:
        raise CohortError(
            f"cohort {cohort.name}: one modality ({', '.join(modalities)}), so there is nothing to fuse.",
            "Train it alone with `fusionln run baseline --modality`.",
        )


def check_fusions(cohort: Cohort, fits: Mapping[str, FitSettings], heads: Heads) -> None:
    """Check that every head can be had from networks with these settings.

    Args:
        cohort: The cohort.
        fits: Settings of the network of each modality.
        heads: Settings of the heads.

    Raises:
        CohortError: If a clinical column cannot be used, or some part of the patients lacks a class that a head needs
            there.
        SettingsError: See `check_head`.
    """
    for name, settings in heads.items():
        if settings is None:
            check_teachable(cohort, name, fits)
            continue
        check_columns(cohort, settings.clinical)
        checked = []  # folds mostly share their settings
        for fold in range(cohort.n_folds):
            of_fold = {modality: fit.of_fold(fold) for modality, fit in fits.items()}, settings.of_fold(fold)
            if of_fold not in checked:
                check_head(*of_fold, len(cohort.classes))
                checked.append(of_fold)
            if settings.tokens == "cross-fitted":
                training_parts(cohort, fold)


def check_fusion_folders(
    cohort: Cohort, baselines: Mapping[RunFolder, BaselineSettings], heads: Heads, out: Path, *, seed: int
) -> None:
    """Check that the folder of every fusion in ``out`` is free or holds this very one.

    Args:
        baselines: Those to fuse, trained or not.

    Raises:
        RunError: See `RunFolder.claim`.
    """
    for name, settings in heads.items():
        run = RunFolder(out / fusion_name(name))
        if settings is None:
            run.holds(new_late_record(cohort, baselines, name, run))
        else:
            run.holds(new_head_record(cohort, baselines, settings, run, seed=seed))


def leave_out_untaught(cohort: Cohort, modalities: Iterable[str], heads: Heads, named: Iterable[str]) -> Heads:
    """Leave out late heads that nobody named and that could not learn here, and say so."""
    others = [name for name in heads if name not in named and heads[name] is None and load_late_head(name).learn]
    if not others or not (untaught := untaught_class(cohort, modalities)):
        return heads
    fold, missing = untaught
    say(f"{', '.join(others)}: left out, since fold {fold} has no inner validation patient of class {missing!r}.")
    return {name: settings for name, settings in heads.items() if name not in others}
