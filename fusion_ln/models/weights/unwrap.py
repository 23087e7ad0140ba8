"""Reading of weight files: no code of theirs runs, and what is wrapped around their tensors is taken off."""

import argparse
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PosixPath
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fusion_ln.errors import WeightsError, in_short
from fusion_ln.settings.training import PRETRAINED

# Of several, the first is taken: averaged weights before those of the last step, as timm does.
WRAPPERS = (
    "state_dict_ema", "model_ema", "ema", "teacher", "state_dict", "model", "module", "net", "network_weights",
    "student",
)  # fmt: skip
OPTIMIZER = "param_groups"  # key of the state of a torch optimizer
# What training scripts leave beside their weights: options, paths and scores, which run no code.
_SCALAR = np.float64(0).__reduce__()[0]
HARMLESS: list[Any] = [
    argparse.Namespace, PosixPath, np.dtype, _SCALAR, (_SCALAR, "numpy.core.multiarray.scalar"),
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "bool")),
]  # fmt: skip
LOAD_ELSEWHERE = (
    "Give a .safetensors file, or a state dictionary as `torch.save(model.state_dict(), FILE)` writes it: on a machine "
    "where you trust the file, load it, and save its tensors alone."
)


@dataclass(frozen=True)
class Unwrapped:
    """Tensors of a weight file.

    Attributes:
        tensors: By name, in the file's order.
        wrapper: Keys under which they lay, joined by dots; empty: at the top.
        beside: Other keys of wrappers that lay beside those and were not taken.
    """

    tensors: dict[str, Tensor]
    wrapper: str = ""
    beside: tuple[str, ...] = ()


def read_weight_file(path: Path) -> Unwrapped:
    """Read the tensors of a weight file.

    Raises:
        WeightsError: If it is missing, damaged, no weight file, or holds other objects than tensors and plain values.
    """
    if not path.is_file():
        in_python = " In Python make it first: `fusion_ln.training.pretraining.start.resolve_weights`."
        raise WeightsError(
            f"{path}: no such weight file.",
            "`--weights` takes `scratch`, `imagenet`, `pretrained`, a file or the folder of a pre-training."
            + in_python * (str(path) == PRETRAINED),
        )
    if path.suffix == ".safetensors":
        try:
            return Unwrapped(load_file(path))
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{path}: damaged ({in_short(error)}).", "Fetch or make the file again.") from None
    unwrapped = unwrap(_load_pickle(path))
    if not unwrapped.tensors:
        raise WeightsError(f"{path}: holds no tensors.", LOAD_ELSEWHERE)
    return unwrapped


def _load_pickle(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of kinds of files that are refused below
            held: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling, zip files and torch each raise their own
        if isinstance(error, UnpicklingError) or "weights_only" in str(error):  # which advise to load it unsafely
            kind = re.search(r"GLOBAL ([\w.]+)", str(error))
            objects = f"other objects than tensors ({kind[1]})" if kind else "other objects than tensors"
            raise WeightsError(
                f"{path}: is no weight file, or holds {objects}, which could run code; not loaded.", LOAD_ELSEWHERE
            ) from None
        raise WeightsError(f"{path}: damaged, or no weight file ({in_short(error)}).", LOAD_ELSEWHERE) from None
    return held


def unwrap(held: object) -> Unwrapped:
    """Take off wrappers until tensors are reached: known keys first, then the part that holds the most tensors.

    A known key with less than half of the tensors of another holds no network, but a few values beside it; nor does
    the state of an optimizer.
    """
    keys: list[str] = []
    beside: tuple[str, ...] = ()
    while isinstance(held, Mapping):
        parts = {str(key): part for key, part in held.items() if isinstance(part, Mapping) and _count(part)}
        parts = {key: part for key, part in parts.items() if OPTIMIZER not in part}
        most = max((_count(parts[key]) for key in WRAPPERS if key in parts), default=0)
        known = [key for key in WRAPPERS if key in parts and 2 * _count(parts[key]) >= most]
        if not known and any(isinstance(value, Tensor) for value in held.values()):
            break
        if not parts:
            break
        chosen = known[0] if known else max(parts, key=lambda key: _count(parts[key]))
        beside = tuple(known[1:])
        keys.append(chosen)
        held = parts[chosen]
    named = held.items() if isinstance(held, Mapping) else ()
    tensors = {str(key): value for key, value in named if isinstance(value, Tensor)}
    return Unwrapped(tensors, ".".join(keys), beside)


def _count(part: Mapping[object, object]) -> int:
    """Count the tensors of a dictionary, nested ones included."""
    return sum(_count(value) if isinstance(value, Mapping) else isinstance(value, Tensor) for value in part.values())
