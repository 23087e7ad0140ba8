"""The file of an ONNX graph: traced, its weights attached, its facts in the metadata, and checked against torch."""

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fusion_ln import __version__
from fusion_ln.errors import ModelError, SettingsError, in_short
from fusion_ln.evaluation.probabilities.cv_plus import MISS_RATE
from fusion_ln.export.gradcam import fits
from fusion_ln.export.graph import OUTPUTS, AnswerGraph
from fusion_ln.export.runtime import open_session
from fusion_ln.export.tracing import (
    AS_IT_IS,
    TRACED_PATIENTS,
    adopt_weights,
    place_outside,
    plain_operators,
    trace_module,
    weights_of,
)
from fusion_ln.files.atomic import write_atomically
from fusion_ln.frozen.card import warnings_of
from fusion_ln.frozen.load import FrozenModel

if TYPE_CHECKING:
    import onnx

TIE = 1e-6  # a p-value of exactly the miss rate is no member, also where float32 is compared in float64
METADATA = "fusion_ln"  # key of the facts in the file's metadata
PRESENT, MAPS = "present", "maps_"
CLOSE = 1e-3  # of a probability to torch's
LARGEST = 2**31 - 2**24  # bytes of weights that a file holds itself: protobuf ends at 2 GB


def write_onnx(
    model: FrozenModel, path: Path, *, half: bool = False, explanations: bool = False, largest: int = LARGEST
) -> bool:
    """Write a model as one ONNX graph, see `AnswerGraph`; inputs are the modalities' names and ``present``.

    Args:
        model: The model.
        path: The file; weights of more than ``largest`` bytes lie beside it, in ``<path>.data``.
        half: Keep weights in half precision; the graph computes in single precision all the same.
        explanations: Add ``maps_<modality>``, Grad-CAM of each picture, where ordinary operators make it, see `fits`.
        largest: Bytes of weights in the file itself.

    Returns:
        Whether the graph has explanations.

    Raises:
        ModelError: If ONNX is not installed, or cannot express the model.
        RunError: If a file cannot be written.
    """
    if taken := [m for m in model.modalities if m in {PRESENT, *OUTPUTS} or m.startswith(MAPS)]:
        raise ModelError(
            f"{model.root}: has a modality {taken[0]!r}, a name that the graph itself gives.", "Rename the modality."
        )
    if model.clinical:
        raise ModelError(
            f"{model.root}: its head takes {', '.join(model.clinical)}, and the graph takes pictures alone.",
            "Use the model as it is (`fusionln predict`), or export one of pictures alone.",
        )
    graph, proto = _trace_model(model, explanations=explanations and fits(model.models[0]))
    explained = len(graph.maps) > 0
    proto.metadata_props.add(
        key=METADATA, value=json.dumps({**facts_of(model), "explanations": explained, "half": half})
    )
    attach_weights(proto, graph, path, half=half, largest=largest)
    content = proto.SerializeToString()
    outside = any(each.data_location == each.EXTERNAL for each in proto.graph.initializer)
    if not outside:
        check_graph(content, path, graph, half=half)
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
    if outside:
        check_graph(path, path, graph, half=half)
    return explained


def check_graph(source: Path | bytes, path: Path, graph: AnswerGraph, *, half: bool) -> None:
    """Check a graph by ONNX's own rules, open it, and compare an answer with torch's.

    Args:
        source: The file, or what is to be written to it.
        path: The file.
        graph: What it was traced from.
        half: Whether weights are in half precision there.

    Raises:
        ModelError: If it breaks a rule, cannot be opened or answers otherwise; weights in another file stay there.
    """
    import onnx

    try:
        onnx.checker.check_model(source if isinstance(source, bytes) else str(source))
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{path}: would be no sound ONNX file: {in_short(error)}.", AS_IT_IS) from error
    rng = np.random.default_rng(0)
    pictures = [torch.from_numpy(rng.integers(0, 256, (2, 50, 40, 3), dtype=np.uint8)) for _ in graph.sides]
    present = torch.ones(2, len(pictures), dtype=torch.bool)
    present[1, 1:] = False
    weights = weights_of(graph)
    if half:
        weights = {name: _as_half(each) for name, each in weights.items()}
    with plain_operators():
        expected = torch.func.functional_call(graph, weights, (pictures, present), tie_weights=False)[0].numpy()
    inputs = {name: each.numpy() for name, each in zip(graph.sides, pictures, strict=True)}
    found = open_session(source, str(path)).run(["probabilities"], {**inputs, PRESENT: present.numpy()})[0]
    if not (away := float(np.abs(found - expected).max())) <= CLOSE:
        raise ModelError(f"{path}: the graph would answer otherwise than the model, by up to {away:.2g}.", AS_IT_IS)


def _trace_model(model: FrozenModel, *, explanations: bool) -> tuple[AnswerGraph, "onnx.ModelProto"]:
    """Trace a model, with explanations unless something mixes the points of the last stage's planes after it."""
    if explanations:
        with suppress(SettingsError):
            graph = AnswerGraph(model, explanations=True).eval()
            return graph, trace(graph)
    graph = AnswerGraph(model).eval()
    return graph, trace(graph)


def facts_of(model: FrozenModel) -> dict[str, object]:
    """Describe a model for whoever runs its graph, in JSON's types."""
    record = model.record
    return {
        "format": 1,
        "made_by": f"fusion_ln {__version__}",
        "title": record.title,
        "answer": record.answer,
        "modalities": dict(record.modalities),  # pixels a side, by name of the input
        "pictures": "one of each modality",  # the package itself also answers for several
        "classes": list(record.classes),
        "shares": list(record.pooled.shares),
        "digest": model.digest,
        "licence": record.licence,
        "warnings": ["For research only, never for a diagnosis.", *warnings_of(record)],
        "unlike_beyond": model.known.threshold if model.known else None,
        "in_set_above": MISS_RATE + TIE,  # p-value
    }


def trace(graph: AnswerGraph) -> "onnx.ModelProto":
    """Trace a graph with free sizes of batch and pictures; its weights are inputs, see `attach_weights`.

    The tracer of TorchScript takes seconds where that of `torch.export` takes minutes, for the same operators.

    Raises:
        ModelError: If ONNX is not installed, or lacks an operator.
    """
    pictures = [torch.zeros(TRACED_PATIENTS, 40, 50, 3, dtype=torch.uint8) for _ in graph.sides]
    present = torch.ones(TRACED_PATIENTS, len(pictures), dtype=torch.bool)
    outputs = [*OUTPUTS, *([f"{MAPS}{name}" for name in graph.sides] if len(graph.maps) else [])]
    sizes = {name: {0: "batch", 1: f"height_{name}", 2: f"width_{name}"} for name in graph.sides}
    axes = {**sizes, **{name: {0: "batch"} for name in (PRESENT, *outputs)}}
    return trace_module(graph, (pictures, present), [*graph.sides, PRESENT], outputs, axes)


def attach_weights(
    proto: "onnx.ModelProto", graph: nn.Module, path: Path, *, half: bool = False, largest: int = LARGEST
) -> None:
    """Turn those inputs of a traced graph that are its module's weights into stored values, see `write_onnx`."""
    import onnx

    arrays = adopt_weights(proto, graph)
    casts = []
    if half:
        for name in list(arrays):
            if fits_half(arrays[name]):
                arrays[f"{name}.half"] = arrays.pop(name).astype(np.float16)
                casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    if sum(array.nbytes for array in arrays.values()) <= largest:
        proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
        return
    data = path.with_name(f"{path.name}.data")
    write_atomically(data, lambda temporary: _write_arrays(temporary, arrays))
    place_outside(proto, arrays, data.name)


def fits_half(array: np.ndarray) -> bool:
    """Test if weights are many, and within the range of half precision."""
    return array.dtype == np.float32 and array.ndim > 1 and np.abs(array).max() < np.finfo(np.float16).max


def _as_half(weights: Tensor) -> Tensor:
    """Round weights as the file does."""
    return weights.half().float() if fits_half(weights.detach().numpy()) else weights


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).data)
