"""Room on the disks: a training's files are known from shapes, so a disk too small is found before the first fit.

The sum is a lower bound: pictures, tokens, the weights of networks, and the state of one unfinished fit. Heads, tables
and pages are small beside them.
"""

import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path
from tempfile import gettempdir

import numpy as np

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.decode.stored import holds_array
from fusion_ln.errors import RunError
from fusion_ln.images.bank import bank_file
from fusion_ln.models.rehearsal import rehearse
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import BaselineSettings, FitSettings
from fusion_ln.terms import cache_folder
from fusion_ln.training.experiment_file import fusion_name
from fusion_ln.training.fusion.tokens import token_files
from fusion_ln.training.parts import CROSS_PARTS

# State of a fit in sizes of its weights: the best ones, the last epoch's with two moments of AdamW, and the next such
# file, which is written before the other one goes. After a single epoch only the checkpoint follows.
STATE, STATE_OF_ONE_EPOCH = 7, 5
HALF, SINGLE = np.dtype(np.float16).itemsize, np.dtype(np.float32).itemsize
TRIAL = "state of a trial"
BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class RoomNeeded:
    """A file that will be written.

    Attributes:
        size: In bytes.
        stays: False for the state of a fit, which goes before the next one comes.
    """

    what: str
    file: Path
    size: int
    stays: bool = True


def check_room(needs: Iterable[RoomNeeded]) -> None:
    """Refuse a disk that has no room for what will be written to it.

    Raises:
        RunError: Naming the folders, what is needed and what is free.
    """
    disks: dict[int, list[RoomNeeded]] = defaultdict(list)
    for need in {need.file: need for need in needs}.values():
        disks[_existing(need.file).stat().st_dev].append(need)
    for on_disk in disks.values():
        sizes: dict[str, int] = defaultdict(int)
        for need in on_disk:
            sizes[need.what] = sizes[need.what] + need.size if need.stays else max(sizes[need.what], need.size)
        usage, needed = shutil.disk_usage(_existing(on_disk[0].file)), sum(sizes.values())
        if usage.total and needed > usage.free:  # some storage tells neither
            listed = ", ".join(f"{what} {as_size(size)}" for what, size in sizes.items() if size)
            raise RunError(
                f"{_places(on_disk)}: too little room. {as_size(needed)} will be written ({listed}), but "
                f"{as_size(usage.free)} are free there.",
                "Free some space, or take another disk: `--out DIR` for runs, FUSIONLN_CACHE for pictures and tokens"
                f"{', TMPDIR for trials' if TRIAL in sizes else ''}.",
            )


def _places(needs: Collection[RoomNeeded]) -> str:
    """Name the folders that the files will lie in."""
    outside = [need.file.parent for need in needs if not need.file.is_relative_to(cache_folder())]
    places = [commonpath(outside)] if outside else []
    if len(outside) < len(needs):
        places.append(str(cache_folder()))
    return " and ".join(places)


def as_size(size: int) -> str:
    """Write a number of bytes in the largest unit that it fills."""
    power = min(len(BYTE_UNITS), (len(str(size)) + 2) // 3) - 1
    return f"{size / 1000**power:.{min(1, power)}f} {BYTE_UNITS[power]}"


def _existing(file: Path) -> Path:
    """Find the lowest folder of a file that is there."""
    return next(folder for folder in file.absolute().parents if folder.exists())


def baseline_needs(cohort: Cohort, planned: Mapping[RunFolder, BaselineSettings]) -> Iterator[RoomNeeded]:
    """List what baselines still have to write."""
    for run, settings in planned.items():
        if run.finished:
            continue
        yield from _bank(cohort, settings.modality, settings.fit.image_size)
        for fold in range(cohort.n_folds):
            yield from _checkpoint(run.checkpoint(fold), [settings.fit.of_fold(fold)], settings.fit.epochs)


def trial_needs(cohort: Cohort, modalities: Iterable[str], fit: FitSettings) -> Iterator[RoomNeeded]:
    """List what the first trial of each baseline writes: pictures and, for its time, the state of a fit."""
    for modality in modalities:
        yield from _bank(cohort, modality, fit.image_size)
    states = STATE if fit.epochs > 1 else STATE_OF_ONE_EPOCH - 1  # a trial keeps no checkpoint
    state = Path(gettempdir()) / TRIAL / "state.ckpt"
    yield RoomNeeded(TRIAL, state, states * rehearse(fit.backbone, fit.image_size).size, stays=False)


def pretraining_needs(cohorts: Iterable[Cohort], fit: FitSettings, run: RunFolder) -> Iterator[RoomNeeded]:
    """List what a pre-training still has to write."""
    if not run.backbone.is_file():
        yield from (need for cohort in cohorts for need in _bank(cohort, cohort.modalities[0], fit.image_size))
        yield from _checkpoint(run.backbone, [fit], fit.epochs)


def fusion_needs(
    cohort: Cohort,
    planned: Mapping[RunFolder, BaselineSettings],
    heads: Mapping[str, HeadSettings | None],
    out: Path,
) -> Iterator[RoomNeeded]:
    """List what trained heads on these baselines still have to write."""
    for name, head in heads.items():
        run = RunFolder(out / fusion_name(name))
        if head is None or run.finished:
            continue
        for fold in range(cohort.n_folds):
            for member, settings in planned.items():
                yield from _tokens(cohort, member, settings, fold, head.of_fold(fold))
            if tuning := head.of_fold(fold).finetune:
                fits = [settings.fit.of_fold(fold) for settings in planned.values()]
                yield from _checkpoint(run.checkpoint(fold), fits, tuning.epochs)


def _bank(cohort: Cohort, modality: str, size: int) -> Iterator[RoomNeeded]:
    """List the pictures of a modality, unless they are prepared already."""
    bank = bank_file(cohort, modality, size)
    if not holds_array(bank):
        yield RoomNeeded("pictures", bank, len(cohort.images_of(modality)) * 3 * size**2)


def _checkpoint(file: Path, fits: Iterable[FitSettings], epochs: int) -> Iterator[RoomNeeded]:
    """List the checkpoint of a model of these networks, and the state of its fit."""
    if file.is_file():
        return
    size = sum(rehearse(fit.backbone, fit.image_size).size for fit in fits)
    yield RoomNeeded("checkpoints", file, size)
    held = sum(state.stat().st_size for state in file.parent.rglob("*.ckpt"))
    states = (STATE if epochs > 1 else STATE_OF_ONE_EPOCH) * size - size
    yield RoomNeeded("state of a fit", file.with_suffix(".ckpt"), max(0, states - held), stays=False)


def _tokens(
    cohort: Cohort, run: RunFolder, settings: BaselineSettings, fold: int, head: HeadSettings
) -> Iterator[RoomNeeded]:
    """List the tokens of a baseline's pictures for the head of a fold, and the networks that only they need."""
    fit = settings.fit.of_fold(fold)
    number, width = rehearse(fit.backbone, fit.image_size, head.grid).tokens or (0, 0)
    pictures = len(cohort.images_of(settings.modality)) * (1 + head.copies)
    for part in [None, *range(CROSS_PARTS)] if head.tokens == "cross-fitted" else [None]:
        checkpoint = run.checkpoint(fold) if part is None else run.cross_checkpoint(fold, part)
        if part is not None:
            yield from _checkpoint(checkpoint, [fit], fit.epochs)
        if checkpoint.is_file():
            files = token_files(cohort, settings.modality, checkpoint, head, fold)
        else:  # named by their content: any name will do until then
            folder = cache_folder() / "tokens" / str(checkpoint.resolve()).strip("/") / repr(head.of_tokens)
            files = {name: folder / name for name in ("logits", "tokens")}
        sizes = {"logits": pictures * len(cohort.classes) * SINGLE, "tokens": pictures * number * width * HALF}
        yield from (RoomNeeded("tokens", file, sizes[name]) for name, file in files.items() if not holds_array(file))
