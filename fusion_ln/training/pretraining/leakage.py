"""Leakage between a pre-training and the study that follows: shared pictures are found and refused."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from fusion_ln.cohort.checks.overlap import ORIGIN, KnownPictures, find_shared_pictures, grey_copies
from fusion_ln.cohort.checks.thumbnail import THUMBNAIL_SIDE
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.source import bullet_list
from fusion_ln.decode.stored import read_stored_table
from fusion_ln.errors import CohortError, RunError, in_short
from fusion_ln.files.formats import write_csv, write_parquet, write_rows
from fusion_ln.models.weights.load import known_network
from fusion_ln.models.weights.places import NAMES, weight_file
from fusion_ln.progress import say
from fusion_ln.records.kinds import PretrainingRecord
from fusion_ln.runs import RunFolder
from fusion_ln.terms import IMAGE, SHA256

# In the folder of a pre-training, row by row: task, image_id and sha256 of every picture; its 32 x 32 grey copy.
PICTURES_FILE, COPIES = "pictures.parquet", "pictures.npy"
TASK = "task"
SHARED_PICTURES = "shared_pictures.csv"  # in the cohort folder: what was refused


def keep_pictures(cohorts: Sequence[Cohort], run: RunFolder) -> None:
    """Save hashes and thumbnails of the pre-training pictures for later leakage checks."""
    tables = [c.images[[IMAGE, SHA256]].assign(**{TASK: c.name}) for c in cohorts]
    if not (run.root / COPIES).is_file():
        rows = (copy for cohort in cohorts for copy in grey_copies(cohort, cohort.images))
        write_rows(
            run.root / COPIES, rows, (sum(map(len, tables)), THUMBNAIL_SIDE * THUMBNAIL_SIDE), np.dtype(np.uint8)
        )
    write_parquet(run.root / PICTURES_FILE, pd.concat(tables, ignore_index=True))


def pretraining_of(weights: str) -> RunFolder | None:
    """Find the run that made weights, as given to ``--weights``; None if it is no pre-training of ours."""
    run = RunFolder(Path(weights) if Path(weights).is_dir() else Path(weights).parent)
    return run if run.record.is_file() and isinstance(run.read_record(), PretrainingRecord) else None


def refuse_shared_pictures(cohort: Cohort, modalities: Sequence[str], weights: str) -> None:
    """Refuse to fine-tune on pictures that the weights were pre-trained on.

    Args:
        cohort: What would be fine-tuned on.
        modalities: Of the pictures that would be used.
        weights: As given to ``--weights``. Only a pre-training of ours tells its pictures.

    Raises:
        CohortError: If a picture stands in both, the same file or nearly the same picture; names the first ten. Or if
            the cohort lacks a modality.
        RunError: If the pre-training lost the record of its pictures.
    """
    if weights in NAMES:
        return
    if not weight_file(Path(weights)).is_file():
        return  # loading it says so
    if (network := known_network(weights)) and (warning := network.learnt_from(cohort.name, cohort.source)):
        say(f"Warning: {weights}: {warning}")
    run = pretraining_of(weights)
    if run is None:
        say(f"{weights}: tells no pictures that it learnt from, so none could be looked for in {cohort.name}.")
        return
    for name in (PICTURES_FILE, COPIES):
        if not (run.root / name).is_file():
            raise RunError(f"{run.root}: {name} is missing, so its pictures are unknown.", "Restore it.")
    shared: dict[str, str] = {}
    for modality in modalities:
        shared |= _find_shared(cohort.root, cohort.fingerprint, modality, run.root)
    if shared:
        table = pd.DataFrame({IMAGE: list(shared), "detail": list(shared.values())})
        write_csv(cohort.root / SHARED_PICTURES, table)
        raise CohortError(
            f"{len(shared)} pictures of {cohort.name} also served the pre-training of {weights}:\n"
            f"{bullet_list([f'{image}: {detail}' for image, detail in shared.items()])}",
            f"Import the cohort without them (`--leave-out PATH`; all are listed in {cohort.root / SHARED_PICTURES}), "
            "or pre-train without that set.",
        )


@lru_cache(maxsize=16)  # an experiment asks for the same cohort once per seed; the fingerprint tells it changed
def _find_shared(cohort_root: Path, fingerprint: str, modality: str, run: Path) -> dict[str, str]:
    table = read_stored_table(run / PICTURES_FILE, "Restore it.", {IMAGE: "text", SHA256: "text", TASK: "text"}).rename(
        columns={TASK: ORIGIN}
    )
    try:
        copies = np.load(run / COPIES, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"{run / COPIES}: cannot be read ({in_short(error)}).", "Restore it.") from None
    if copies.shape != (len(table), THUMBNAIL_SIDE * THUMBNAIL_SIDE):
        raise RunError(
            f"{run / COPIES}: not the copies of the {len(table)} pictures in {PICTURES_FILE}.", "Restore it."
        )
    known = KnownPictures(table, copies)
    return find_shared_pictures(load_cohort(cohort_root), modality, known)
