"""Named arrays in a safetensors file, which is mapped, not read: only what is looked at comes from the disk."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from fusion_ln.errors import RunError
from fusion_ln.files.atomic import write_atomically

LENGTH = 8  # bytes of the number that says how long the header is
KINDS = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16,
    "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip


def write_tensors(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays in one file, atomically; the same arrays are the same bytes."""
    held = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_atomically(path, lambda temporary: save_file(held, temporary))


def map_tensors(path: Path, way_out: str) -> dict[str, np.ndarray]:
    """Map the arrays of a file, by name; they are read-only.

    Raises:
        RunError: If the file is missing or damaged, or holds numbers that NumPy does not know.
    """
    try:
        content = np.memmap(path, mode="r")
        behind = LENGTH + int.from_bytes(content[:LENGTH].tobytes(), "little")
        header = json.loads(content[LENGTH:behind].tobytes())
        arrays = {}
        for name, held in header.items():
            if name != "__metadata__":
                start, end = (behind + place for place in held["data_offsets"])
                part: np.ndarray = content[start:end].view(KINDS[held["dtype"]])
                arrays[name] = np.asarray(part).reshape(held["shape"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: damaged ({error}).", way_out) from None
    return arrays


def read_tensors(path: Path, way_out: str) -> dict[str, np.ndarray]:
    """Map the arrays of a file, by name, and look at their values.

    Raises:
        RunError: If one holds NaN or infinity, or the file is missing or damaged.
    """
    arrays = map_tensors(path, way_out)
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise RunError(f"{path}: its tensor {name} holds values that are not finite numbers.", way_out)
    return arrays
