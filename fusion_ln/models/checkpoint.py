"""A trained model as one safetensors file: its weights, and the settings that rebuild it as JSON metadata."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fusion_ln.errors import RunError
from fusion_ln.files import write_atomically
from fusion_ln.models.build import Classifier, build_classifier
from fusion_ln.settings import BaselineSettings

METADATA_KEY = "fusion_ln"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of itself."""

    settings: BaselineSettings
    classes: tuple[str, ...]
    fold: int


def save_checkpoint(path: Path, weights: dict[str, Tensor], checkpoint: Checkpoint) -> None:
    """Write weights and description in one file, atomically."""
    described = {
        "settings": checkpoint.settings.model_dump(),
        "classes": checkpoint.classes,
        "fold": checkpoint.fold,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, {METADATA_KEY: json.dumps(described)}))


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
    """The description alone, without the weights.

    Raises:
        RunError: As `load_checkpoint`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {})[METADATA_KEY])
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        found = "is missing" if isinstance(error, FileNotFoundError) else "is not a checkpoint of fusion_ln"
        raise RunError(f"{path}: {found}.", "Train the run again, or choose another RUN.") from None
    settings = BaselineSettings.read(described["settings"], str(path))
    return Checkpoint(settings, tuple(described["classes"]), described["fold"])
