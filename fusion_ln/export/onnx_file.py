"""The file of an ONNX graph, and the facts in its metadata."""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fusion_ln import __version__
from fusion_ln.errors import ModelError
from fusion_ln.evaluation.probabilities.cv_plus import MISS_RATE
from fusion_ln.export.graph import OUTPUTS, AnswerGraph
from fusion_ln.files.atomic import write_atomically
from fusion_ln.frozen.card import warnings_of
from fusion_ln.frozen.load import FrozenModel

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

INSTALL_ONNX = 'Install it: pip install "fusion_ln[onnx]".'
METADATA = "fusion_ln"  # key of the facts in the file's metadata
PRESENT = "present"
OPSET = 20
TRACED_PATIENTS = 2  # a batch of one would be taken for the only size there is
MOST_PATIENTS = 32  # that a batch is tested with


def write_onnx(model: FrozenModel, path: Path) -> None:
    """Write a model as one ONNX graph, see `AnswerGraph` for its inputs and outputs.

    Raises:
        ModelError: If ONNX is not installed, or lacks an operator of the model's networks.
        RunError: If the file cannot be written.
    """
    program = trace(model)
    program.model.metadata_props[METADATA] = json.dumps(facts_of(model))
    write_atomically(path, lambda temporary: program.save(str(temporary)))


def facts_of(model: FrozenModel) -> dict[str, object]:
    """Describe a model for whoever runs its graph, in JSON's types."""
    record = model.record
    return {
        "format": 1,
        "engine": f"fusion_ln {__version__}",
        "title": record.title,
        "answer": record.answer,
        "modalities": dict(record.modalities),  # pixels a side, by name of the input
        "classes": list(record.classes),
        "shares": list(record.pooled.shares),
        "digest": model.digest,
        "licence": record.licence,
        "warnings": ["For research only, never for a diagnosis.", *warnings_of(record)],
        "unlike_beyond": model.known.threshold if model.known else None,
        "in_set_above": MISS_RATE,  # p-value
        "clinical_as_mean": model.clinical,
    }


def trace(model: FrozenModel) -> "ONNXProgram":
    """Trace a model as an ONNX graph with free sizes of batch and pictures.

    Raises:
        ModelError: If ONNX is not installed, or lacks an operator of the model's networks.
    """
    try:
        import onnxscript  # noqa: F401  # torch's exporter needs it
    except ImportError:
        raise ModelError("--onnx: ONNX is not installed.", INSTALL_ONNX) from None
    graph = AnswerGraph(model).eval()
    batch = torch.export.Dim("batch", min=1, max=MOST_PATIENTS)
    pictures, sizes = [], []
    for number in range(len(graph.sides)):
        height, width = 40 + 6 * number, 50 + 6 * number  # no two alike, so that each is free
        pictures.append(torch.zeros(TRACED_PATIENTS, height, width, 3, dtype=torch.uint8))
        height_of, width_of = (torch.export.Dim(f"{axis}_{number}", min=1) for axis in ("height", "width"))
        sizes.append({0: batch, 1: height_of, 2: width_of})
    present = torch.ones(TRACED_PATIENTS, len(pictures), dtype=torch.bool)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            (pictures, present),
            input_names=[*graph.sides, PRESENT],
            output_names=list(OUTPUTS),
            dynamic_shapes=(sizes, {0: batch}),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program
