"""A trained model as one safetensors file: its weights, and the settings that rebuild it as JSON metadata."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fusion_ln.cohort.clinical import ClinicalColumn
from fusion_ln.errors import RunError
from fusion_ln.files import write_atomically
from fusion_ln.models.classifier import Classifier, build_classifier
from fusion_ln.models.fusion.base import HeadEnsemble, TripletShape
from fusion_ln.settings import BaselineSettings, HeadSettings

METADATA_KEY = "fusion_ln"


@dataclass(frozen=True)
class Checkpoint:
    """Description of a baseline's checkpoint."""

    settings: BaselineSettings
    classes: tuple[str, ...]
    fold: int


HEAD_KEY = "fusion_ln.head"
FUSION = "fusion."  # prefix of a head's tensors among those of a whole model


def save_head(
    path: Path,
    weights: dict[str, Tensor],
    settings: HeadSettings,
    shape: TripletShape,
    columns: Sequence[ClinicalColumn] = (),
) -> None:
    """Write a fusion head, or its fine-tuned whole model, with the settings that rebuild it, atomically."""
    clinical = [column.model_dump() for column in columns]
    described = {"settings": settings.model_dump(), "shape": asdict(shape), "clinical": clinical}
    _save(path, weights, HEAD_KEY, described)


def load_head(path: Path) -> tuple[HeadEnsemble, tuple[ClinicalColumn, ...]]:
    """Rebuild a trained fusion head, in evaluation mode on the CPU, with the clinical columns that it takes.

    Raises:
        RunError: If the file is missing or holds no head.
    """
    described = _describe(path, HEAD_KEY)
    settings = HeadSettings.read(described["settings"], str(path))
    head = HeadEnsemble(settings, TripletShape(**described["shape"]))
    tensors = load_file(path)
    if settings.finetune:
        tensors = {k.removeprefix(FUSION): tensor for k, tensor in tensors.items() if k.startswith(FUSION)}
    head.load_state_dict(tensors)
    columns = (ClinicalColumn.read(column, str(path)) for column in described.get("clinical", []))
    return head.eval(), tuple(columns)


def save_checkpoint(path: Path, weights: dict[str, Tensor], checkpoint: Checkpoint) -> None:
    """Write weights and description in one file, atomically."""
    described = {
        "settings": checkpoint.settings.model_dump(),
        "classes": checkpoint.classes,
        "fold": checkpoint.fold,
    }
    _save(path, weights, METADATA_KEY, described)


def load_checkpoint(path: Path) -> tuple[Classifier, Checkpoint]:
    """Rebuild a trained model, in evaluation mode on the CPU.

    Raises:
        RunError: If the file is missing or is no checkpoint of this package.
    """
    checkpoint = read_checkpoint(path)
    model = build_classifier(checkpoint.settings.fit, len(checkpoint.classes), weights="scratch")
    model.load_state_dict(load_file(path))
    return model.eval(), checkpoint


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the description alone, without the weights.

    Raises:
        RunError: See `load_checkpoint`.
    """
    described = _describe(path, METADATA_KEY)
    settings = BaselineSettings.read(described["settings"], str(path))
    return Checkpoint(settings, tuple(described["classes"]), described["fold"])


def _save(path: Path, weights: dict[str, Tensor], key: str, described: dict[str, Any]) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, {key: json.dumps(described)}))


def _describe(path: Path, key: str) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            described: dict[str, Any] = json.loads((file.metadata() or {})[key])
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        found = "is missing" if isinstance(error, FileNotFoundError) else "is not a checkpoint of fusion_ln"
        raise RunError(f"{path}: {found}.", "Train the run again, or choose another RUN.") from None
    return described
