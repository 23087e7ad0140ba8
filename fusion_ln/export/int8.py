"""An ONNX graph in whole numbers of 8 bits, calibrated on a cohort's pictures, and what that costs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import ModelError, in_short
from fusion_ln.export.loss import Inputs, Loss, ask, compare, gather, inputs_of
from fusion_ln.export.onnx_file import LARGEST, write_onnx
from fusion_ln.export.runtime import INSTALL_ONNX
from fusion_ln.export.tracing import weights_of
from fusion_ln.files.atomic import write_atomically
from fusion_ln.frozen.load import FrozenModel

if TYPE_CHECKING:
    import onnx

DOUBLE = 11  # in the numbering of ONNX
CALIBRATED = 64  # patients at most, and a third of the cohort
QUANTIZED = ("Conv", "Gemm", "MatMul")


def write_int8(model: FrozenModel, path: Path, cohort: Cohort) -> Loss:
    """Write a model as an ONNX graph whose networks compute in 8 bits.

    Scales are learnt from pictures of a third of the cohort, at most `CALIBRATED` patients; the loss is measured on
    the others.

    Raises:
        ModelError: If ONNX is not installed, the networks are too large, or the cohort has no picture that the model
            takes, or a single patient.
        CohortError, PictureError: If a picture is not the one that was imported, or cannot be read.
        RunError: If the file cannot be written.
    """
    try:
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    except ImportError:
        raise ModelError("--int8: ONNX and its runtime are not installed.", INSTALL_ONNX) from None
    size = sum(each.numel() * each.element_size() for one in model.models for each in weights_of(one).values())
    if size > LARGEST:
        raise ModelError(
            f"--int8: the networks hold {size / 1e9:.1f} GB, and onnxruntime turns at most {LARGEST / 1e9:.1f} GB "
            "into 8 bits.",
            "Export with --half, or a model of fewer networks (`fusionln freeze RUN --as refit`).",
        )
    pictures = gather(model, cohort)
    inputs = list(inputs_of(model, pictures))
    if len(inputs) < 2:
        raise ModelError(
            f"--cohort {cohort.root}: one patient has pictures; some set the scales, others show the loss.",
            "Give a cohort of more patients.",
        )
    wanted = min(CALIBRATED, -(-len(inputs) // 3))
    places = set(np.linspace(0, len(inputs) - 1, wanted).round().astype(int).tolist())

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Pictures of some patients, one at a time."""

        def __init__(self) -> None:
            self.rest = iter([inputs[place] for place in sorted(places)])

        def get_next(self) -> Inputs | None:
            return next(self.rest, None)

    with TemporaryDirectory() as folder:
        whole, small = Path(folder) / "whole.onnx", Path(folder) / "small.onnx"
        write_onnx(model, whole)
        proto = onnx.shape_inference.infer_shapes(onnx.load(whole))
        try:
            with _without_advice():
                quantize_static(
                    whole,
                    small,
                    Reader(),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    op_types_to_quantize=list(QUANTIZED),
                    nodes_to_exclude=_exact_nodes(proto),
                )
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"--int8: cannot be calibrated: {in_short(error)}.", "Export without --int8.") from error
        found = ask(small, inputs)
        write_atomically(path, lambda temporary: temporary.write_bytes(small.read_bytes()))
    return compare(model, cohort, pictures, found, [place for place in range(len(inputs)) if place not in places])


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keep the library's advice on how to call it from the user, who cannot follow it."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _exact_nodes(proto: "onnx.ModelProto") -> list[str]:
    """List the nodes that compute in double precision: the resize, the calibration and the distances."""
    wide = {value.name for value in proto.graph.value_info if value.type.tensor_type.elem_type == DOUBLE}
    wide |= {value.name for value in proto.graph.initializer if value.data_type == DOUBLE}
    return [node.name for node in proto.graph.node if wide & {*node.input, *node.output}]
