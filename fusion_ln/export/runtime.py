"""onnxruntime: sessions of one thread, and one clear message where it cannot open a file."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusion_ln.errors import ModelError, in_short, pip_install

if TYPE_CHECKING:
    import onnxruntime

INSTALL_ONNX = f"Install it: {pip_install('onnx')}."
OPSET = 18  # of the graphs that this package writes
KNOWN_OPSET = re.compile(r"till opset (\d+)")  # of onnxruntime's own words on a file that is too new


def open_session(
    source: Path | bytes,
    title: str,
    weights: Mapping[str, np.ndarray] | None = None,
    *,
    rewrite: bool = True,
) -> "onnxruntime.InferenceSession":
    """Open a graph on the CPU; it computes with one thread, as the networks of torch do beside each other.

    Args:
        source: The file, or its bytes.
        title: Name of the graph in messages.
        weights: Values that the graph keeps outside of itself, by name.
        rewrite: Rewrite the graph to be faster, with weights that are copied and laid out anew.

    Raises:
        ModelError: If onnxruntime is not installed, or cannot open the graph: it says which opsets are known.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ModelError("onnxruntime is not installed.", INSTALL_ONNX) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # its errors are ours, below
    if not rewrite:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    held = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in (weights or {}).items()}
    if held:
        options.add_external_initializers(list(held), list(held.values()))
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's classes share no other base
        raise ModelError(
            f"{title}: onnxruntime {onnxruntime.__version__} cannot open it: {_reason(source, str(error))}.",
            "Install a newer onnxruntime (`pip install -U onnxruntime`), or export the model again.",
        ) from error


def _reason(source: Path | bytes, words: str) -> str:
    """Say in short why a graph cannot be opened."""
    opset = _opset_of(source)
    if opset is None:
        return "it is no ONNX file, or a part of one"
    known = KNOWN_OPSET.search(words)
    if known and opset > int(known[1]):
        return f"it is written in opset {opset}, and this one knows opsets up to {known[1]}"
    return f"opset {opset}: {in_short(RuntimeError(words))}"


def _opset_of(source: Path | bytes) -> int | None:
    """Read the opset of a graph; None: the file cannot be read."""
    import onnx

    try:
        loaded = (
            onnx.load_from_string(source) if isinstance(source, bytes) else onnx.load(source, load_external_data=False)
        )
    except Exception:  # protobuf's own errors
        return None
    return max((each.version for each in loaded.opset_import if each.domain in {"", "ai.onnx"}), default=None)
