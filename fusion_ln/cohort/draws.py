"""Further draws of a cohort: the same patients and pictures under other folds, or with fewer training patients.

A draw is a cohort folder of its own, whose pictures lie where the cohort's do: training, prediction and explanation
read it as any other, and since its folds have another fingerprint, its runs are compared with none of another draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import save_cohort
from fusion_ln.cohort.folds import draw_folds, folds_origin, mark_unused
from fusion_ln.cohort.head import HEAD, read_head
from fusion_ln.errors import CohortError, RunError, SettingsError
from fusion_ln.files.hashes import hash_table
from fusion_ln.files.locks import LOCK, locked
from fusion_ln.terms import LABEL, PATIENT

FOLDER = "cohort"  # of a draw, beside its runs
SEEDS = 2**32


@dataclass(frozen=True)
class Draw:
    """Patients under some folds, and the runs on them.

    Attributes:
        folder: Folder of its runs.
        cohort: The patients under its folds.
        seed: Seed of its trainings.
        fraction: Part of each fold's training patients that it trains on.
    """

    folder: Path
    cohort: Cohort
    seed: int
    fraction: float = 1.0


def draw_repeats(cohort: Cohort, out: Path, *, repeats: int, seed: int) -> list[Draw]:
    """Draw folds anew for each repeat but the first, which has the cohort's own folds and lies in ``out``.

    The others belong into ``out/repeat-<r>``; repeat r trains with the seed ``seed + r``. Nothing is written.

    Raises:
        CohortError: If the folds are the sites, of which there is one draw only.
        RunError: If a folder holds other folds already.
    """
    first = Draw(out, cohort, seed)
    if repeats == 1:
        return [first]
    if cohort.details.folds == folds_origin(0, True, 0):
        raise CohortError(
            f"cohort {cohort.name}: its folds are its sites, which cannot be drawn anew.",
            "Leave out --repeats, or draw stratified folds (`fusionln cohort folds DIR --folds 5`).",
        )
    drawn = [first]
    for repeat in range(1, repeats):
        of_folds = int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])
        folds = draw_folds(cohort.patients, k=cohort.n_folds, seed=of_folds, classes=cohort.classes)
        origin = f"{folds_origin(cohort.n_folds, False, of_folds)}, repeat {repeat}"
        details = cohort.details.model_copy(update={"folds": origin})
        folder = out / f"repeat-{repeat}"
        own = replace(cohort, root=folder / FOLDER, folds=folds, details=details)
        drawn.append(Draw(folder, own, (seed + repeat) % SEEDS))
    _refuse_others(drawn[1:])
    return drawn


def draw_fractions(cohort: Cohort, out: Path, *, fractions: Sequence[float], seed: int) -> list[Draw]:
    """Draw nested parts of each fold's training patients, for ``out/fraction-<f>``; the whole, in ``out``, comes first.

    Nothing is written.

    Raises:
        RunError: If a folder holds other folds already.
    """
    cohort.refuse_nodes("parts of the training are drawn of patients alone", "Leave out --fractions.")
    labels = cohort.patients.set_index(PATIENT)[LABEL]
    drawn = [Draw(out, cohort, seed)]
    for fraction in sorted({*fractions} - {1.0}):
        folder = out / f"fraction-{fraction:g}"
        if folder == drawn[-1].folder:
            raise SettingsError(
                f"--fractions: {drawn[-1].fraction} and {fraction} are too near to each other.",
                "Leave one of them out.",
            )
        origin = f"{cohort.details.folds or 'folds of the cohort'}, {fraction:g} of the training"
        details = cohort.details.model_copy(update={"folds": origin})
        folds = mark_unused(cohort.folds, labels, fraction)
        own = replace(cohort, root=folder / FOLDER, folds=folds, details=details)
        drawn.append(Draw(folder, own, seed, fraction))
    for one, other in pairwise([*drawn[1:], drawn[0]]):
        if _training_parts(one.cohort) == _training_parts(other.cohort):
            raise SettingsError(
                f"--fractions: {one.fraction:g} keeps the same training patients as {other.fraction:g}.",
                "Leave one of the two out.",
            )
    _refuse_others(drawn[1:])
    return drawn


def _training_parts(cohort: Cohort) -> list[tuple[list[str], list[str]]]:
    return [cohort.training_part(fold) for fold in range(cohort.n_folds)]


def save_draws(draws: Sequence[Draw]) -> None:
    """Write the folders of further draws."""
    for draw in draws:
        with locked(draw.cohort.root / LOCK):
            _refuse_others([draw])
            save_cohort(draw.cohort)


def _refuse_others(draws: Sequence[Draw]) -> None:
    """Refuse folders that hold other folds.

    Raises:
        RunError: Naming the first of them.
    """
    for cohort in (draw.cohort for draw in draws if (draw.cohort.root / HEAD).is_file()):
        held = read_head(cohort.root)
        if held.hashes.get("folds") != hash_table(cohort.folds):
            raise RunError(
                f"{cohort.root}: holds other folds ({held.details.folds}) than those asked for "
                f"({cohort.details.folds}).",
                "Give the cohort and the seed with which its runs were made, or another folder with `--out DIR`.",
            )
