"""Hashes of the pictures that a model's networks learnt from, of its study and of its pre-trainings."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fusion_ln.cohort.checks.hashes import (
    CONTENT_HASH,
    HASH,
    KnownHashes,
    PictureHashes,
    hash_copies,
    hash_pictures,
)
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.decode.stored import read_stored_table
from fusion_ln.errors import ModelError
from fusion_ln.files.formats import write_parquet
from fusion_ln.files.tensors import read_tensors, write_tensors
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.record import FREEZE_AGAIN
from fusion_ln.models.weights.network import Network
from fusion_ln.models.weights.places import find_weights
from fusion_ln.progress import say
from fusion_ln.records.kinds import BaselineRecord, LateFusionRecord, TrainedFusionRecord
from fusion_ln.records.parse import PredictionRecord
from fusion_ln.runs import RunFolder
from fusion_ln.terms import MODALITY, SHA256

SOURCE = "source"
UNTOLD = "weights that tell no pictures"
OF_ANY = ""  # modality of the pictures of a pre-training, which serve every network that began from it
BEGINNINGS = {"scratch": "random weights", "imagenet": "ImageNet, whose pictures are not known here"}


def write_hashes(folder: ModelFolder, cohort: Cohort, modalities: list[str], run: RunFolder) -> tuple[str, ...]:
    """Write the hashes of the study's pictures, and of those of the run's pre-trainings where these are at hand.

    Returns:
        What the networks began from, in words.
    """
    found = {modality: [hash_pictures(cohort, modality)] for modality in modalities}
    beginnings = list[str]()
    for weights in _weights_of(run.read_prediction_record()):
        known = None if weights in BEGINNINGS else _hash_pretraining(find_weights(weights, run.root.parent))
        if known:
            found.setdefault(OF_ANY, []).append(known)
        other = f"{known.source}, {len(known.table)} pictures" if known else UNTOLD
        beginnings.append(BEGINNINGS.get(weights, other))
    parts = [(modality, each) for modality, collections in found.items() for each in collections]
    tables = [each.table.assign(**{MODALITY: modality, SOURCE: each.source}) for modality, each in parts]
    write_parquet(folder.pictures, pd.concat(tables, ignore_index=True))
    write_tensors(folder.hash_centres, {_key(m, each.source): each.centre for m, each in parts})
    return tuple(dict.fromkeys(beginnings))


def name_presets(beginnings: tuple[str, ...], networks: Sequence[Network]) -> tuple[str, ...]:
    """Name the publications of weights that tell no pictures, with what they learnt from and their licence."""
    named = [f"{n.preset} ({n.licence}), which learnt from {n.trained_on}" for n in networks if n.preset]
    others = [each for each in beginnings if each != UNTOLD or not named]
    return (*others, *named)


def read_hashes(folder: ModelFolder, modalities: Sequence[str]) -> dict[str, KnownHashes]:
    """Read the hashes of the pictures that a model's networks of each modality learnt from.

    Raises:
        ModelError, RunError: If they are missing or damaged.
    """
    table = read_stored_table(
        folder.pictures,
        FREEZE_AGAIN,
        {MODALITY: "text", SOURCE: "text", SHA256: "text", HASH: "text", CONTENT_HASH: "text"},
    )
    centres = read_tensors(folder.hash_centres, FREEZE_AGAIN)
    parts = {modality: table[table[MODALITY].isin([modality, OF_ANY])] for modality in modalities}
    return {modality: KnownHashes(tuple(_collections(folder, part, centres))) for modality, part in parts.items()}


def _collections(
    folder: ModelFolder, table: pd.DataFrame, centres: Mapping[str, np.ndarray]
) -> Iterator[PictureHashes]:
    for _, part in table.groupby([MODALITY, SOURCE], sort=False):
        of, source = str(part[MODALITY].iloc[0]), str(part[SOURCE].iloc[0])
        if (key := _key(of, source)) not in centres:
            raise ModelError(f"{folder.hash_centres}: holds no {key}.", FREEZE_AGAIN)
        yield PictureHashes(part[[SHA256, HASH, CONTENT_HASH]], centres[key], source)


def _key(modality: str, source: str) -> str:
    return f"{modality}: {source}"


def _weights_of(record: PredictionRecord) -> list[str]:
    """List the weights that the networks of a run began from, each once."""
    if isinstance(record, BaselineRecord):
        return [record.settings.fit.weights]
    if isinstance(record, LateFusionRecord | TrainedFusionRecord):
        return list(dict.fromkeys(member.fit.weights for member in record.settings.members.values()))
    return []


def _hash_pretraining(weights: str) -> PictureHashes | None:
    """Hash the pictures of a pre-training by their grey copies; None where its folder is not what it was."""
    from fusion_ln.training.pretraining.leakage import COPIES, PICTURES_FILE, TASK, pretraining_of

    if not Path(weights).exists():
        say(f"{weights}: is not at hand, so a cohort that shares pictures with it is not refused for them.")
        return None
    run = pretraining_of(weights)
    if run is None:
        say(f"{weights}: tells no pictures that it learnt from, so a cohort that shares some is not refused for it.")
        return None
    if not all((run.root / name).is_file() for name in (PICTURES_FILE, COPIES)):
        say(f"{run.root}: its pictures are not at hand, so a cohort that shares some is not refused for it.")
        return None
    table = read_stored_table(run.root / PICTURES_FILE, "Restore it.", {TASK: "text", SHA256: "text"})
    copies = np.load(run.root / COPIES, mmap_mode="r")
    return hash_copies(copies, table[SHA256].tolist(), f"the pre-training on {', '.join(dict.fromkeys(table[TASK]))}")
