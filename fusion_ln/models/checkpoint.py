"""A trained model as one safetensors file: its weights, and the settings that rebuild it as JSON metadata."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fusion_ln.cohort.clinical import ClinicalColumn
from fusion_ln.errors import RunError, in_short
from fusion_ln.files.atomic import write_atomically
from fusion_ln.models.classifier import Classifier, build_classifier
from fusion_ln.models.fusion.base import HeadEnsemble, TripletShape
from fusion_ln.models.undrawn import Undrawn
from fusion_ln.models.weights.network import Network, metadata_of, read_network
from fusion_ln.models.weights.sound import first_not_finite
from fusion_ln.records.kinds import BaselineRecord
from fusion_ln.runs import RunFolder, differences
from fusion_ln.settings.base import RECORDED, Settings
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import BaselineSettings

METADATA_KEY = "fusion_ln"
HEAD_KEY = "fusion_ln.head"
FUSION = "fusion."  # prefix of a head's tensors among those of a whole model
TRAIN_AGAIN = (
    "Put the run's own file back, or delete it with its folder and the run's predictions.parquet: the command that "
    "made the run then trains it again."
)
D = TypeVar("D")


@dataclass(frozen=True)
class Checkpoint:
    """Description of a baseline's checkpoint."""

    settings: BaselineSettings
    classes: tuple[str, ...]
    fold: int


@dataclass(frozen=True)
class HeadCheckpoint:
    """Description of a head's checkpoint; one of an older version does not name its fold."""

    settings: HeadSettings
    shape: TripletShape
    clinical: tuple[ClinicalColumn, ...] = ()
    fold: int | None = None


def save_head(
    path: Path,
    weights: dict[str, Tensor],
    settings: HeadSettings,
    shape: TripletShape,
    columns: Sequence[ClinicalColumn] = (),
    *,
    fold: int,
) -> None:
    """Write a fold's fusion head, or its fine-tuned whole model, with the settings that rebuild it, atomically."""
    clinical = [column.model_dump() for column in columns]
    described = {"settings": settings.model_dump(), "shape": asdict(shape), "clinical": clinical, "fold": fold}
    _save(path, weights, HEAD_KEY, described)


def load_head(path: Path, fold: int, expected: HeadSettings) -> tuple[HeadEnsemble, tuple[ClinicalColumn, ...]]:
    """Rebuild a trained fusion head, in evaluation mode on the CPU, with the clinical columns that it takes.

    Raises:
        RunError: If the file is missing, holds no head, or that of another fold or of other settings than
            ``expected``, or weights that are not finite.
    """
    described = _describe(path, HEAD_KEY, HeadCheckpoint)
    if described.fold is not None:
        _refuse_other(path, "fold", described.fold, fold)
    _refuse_other(path, "settings", described.settings, expected)
    head = HeadEnsemble(expected, described.shape)
    tensors = load_tensors(path)
    if expected.finetune:
        tensors = {k.removeprefix(FUSION): tensor for k, tensor in tensors.items() if k.startswith(FUSION)}
    load_weights(head, tensors, path)
    return head.eval(), described.clinical


def save_checkpoint(
    path: Path, weights: dict[str, Tensor], checkpoint: Checkpoint, network: Network | None = None
) -> None:
    """Write weights and description in one file, atomically; ``network`` is what the first weights brought along."""
    described = {
        "settings": checkpoint.settings.model_dump(),
        "classes": checkpoint.classes,
        "fold": checkpoint.fold,
    }
    _save(path, weights, METADATA_KEY, described, network)


def load_checkpoint(path: Path) -> tuple[Classifier, Checkpoint]:
    """Rebuild a trained model, in evaluation mode on the CPU.

    Raises:
        RunError: If the file is missing or is no checkpoint of this package.
    """
    checkpoint = read_checkpoint(path)
    return _rebuild(path, checkpoint), checkpoint


def load_member(run: RunFolder, fold: int, part: int | None = None) -> tuple[Classifier, Checkpoint]:
    """Rebuild a baseline's network of a fold, and check that it is the one that the run's record describes.

    Args:
        run: A baseline.
        fold: The outer fold.
        part: Of a network that leaves out this part of the training patients.

    Raises:
        RunError: If the folder is no baseline of this version's format, or the checkpoint is missing, damaged, or of
            another fold, modality, classes or settings than its run.
    """
    record = run.read_prediction_record()
    if not isinstance(record, BaselineRecord):
        raise RunError(f"{run.root}: a fusion, but a baseline was expected.", "Give the folder of a baseline.")
    path = run.checkpoint(fold) if part is None else run.cross_checkpoint(fold, part)
    found, settings = read_checkpoint(path), record.settings
    _refuse_other(path, "fold", found.fold, fold)
    _refuse_other(path, "modality", found.settings.modality, settings.modality)
    _refuse_other(path, "classes", found.classes, record.cohort.classes)
    expected = settings.model_copy(update={"fit": settings.fit.of_fold(fold)})
    _refuse_other(path, "settings", found.settings, expected)
    return _rebuild(path, found), found


def _rebuild(path: Path, checkpoint: Checkpoint) -> Classifier:
    fit, network = checkpoint.settings.fit, read_network(path)
    with Undrawn():
        model = build_classifier(fit, len(checkpoint.classes), weights="scratch", network=network)
    load_weights(model, load_tensors(path), path)
    return model.eval()


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load the tensors of a checkpoint into the model that its description rebuilds.

    Raises:
        RunError: If they do not fit.
    """
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunError(f"{path}: its weights do not fit its settings ({in_short(error)}).", TRAIN_AGAIN) from None


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint.

    Raises:
        RunError: If one holds NaN or infinity, or the file is damaged.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: damaged ({error}).", TRAIN_AGAIN) from None
    if name := first_not_finite(tensors):
        raise RunError(f"{path}: its tensor {name} holds values that are not finite numbers.", TRAIN_AGAIN)
    return tensors


def _refuse_other(path: Path, what: str, found: object, expected: object) -> None:
    if found == expected:
        return
    if isinstance(found, Settings) and isinstance(expected, Settings):
        key, found, expected = differences(found.model_dump(mode="json"), expected.model_dump(mode="json"))[0]
        what = f"{what} {key}"
    raise RunError(f"{path}: a checkpoint with {what} {found!r}, but {expected!r} was expected here.", TRAIN_AGAIN)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the description alone, without the weights.

    Raises:
        RunError: See `load_checkpoint`.
    """
    return _describe(path, METADATA_KEY, Checkpoint)


def save_tensors(path: Path, weights: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors in one file, atomically; the same tensors and metadata are the same bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}

    def write(temporary: Path) -> None:
        save_file(tensors, temporary, metadata)
        if metadata and len(metadata) > 1:
            _order_metadata(temporary)

    write_atomically(path, write)


def _order_metadata(file: Path) -> None:
    """Sort the metadata of a safetensors file, which the library writes in any order."""
    with file.open("r+b") as opened:
        size = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:  # the tensors lie behind it
            opened.seek(8)
            opened.write(text.ljust(size))


def _save(
    path: Path, weights: dict[str, Tensor], key: str, described: dict[str, Any], network: Network | None = None
) -> None:
    save_tensors(path, weights, {key: json.dumps(described), **metadata_of(network)})


def _describe(path: Path, key: str, kind: type[D]) -> D:
    """Read the description of a checkpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            return TypeAdapter(kind).validate_json((file.metadata() or {})[key], context=RECORDED)
    except (OSError, KeyError, SafetensorError) as error:
        found = "is missing" if isinstance(error, FileNotFoundError) else "is not a checkpoint of fusion_ln"
        raise RunError(f"{path}: {found}.", TRAIN_AGAIN) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RunError(f"{path}: its description cannot be read ({place}: {first['msg']}).", TRAIN_AGAIN) from None
