"""An ONNX graph in whole numbers of 8 bits, calibrated on a cohort's pictures, and what that costs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import ModelError, in_short
from fusion_ln.evaluation.limits.auc import aucs
from fusion_ln.export.onnx_file import PRESENT, write_onnx
from fusion_ln.export.runtime import INSTALL_ONNX
from fusion_ln.files.atomic import write_atomically
from fusion_ln.frozen.answer import answer
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.images.bank import empty_bank, open_bank
from fusion_ln.images.patients import PatientPictures, gather_pictures
from fusion_ln.progress import say

if TYPE_CHECKING:
    import onnx

DOUBLE = 11  # in the numbering of ONNX
CALIBRATED = 64  # patients
QUANTIZED = ("Conv", "Gemm", "MatMul")

Inputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Loss:
    """What whole numbers cost on a cohort.

    Attributes:
        patients: Number of patients compared.
        auc: Mean one-vs-rest AUC of the model less that of the graph; None where a class has fewer than two patients.
        agreement: Share of patients with the same likeliest class.
        largest: Largest difference of a calibrated probability.
    """

    patients: int
    auc: float | None
    agreement: float
    largest: float


def write_int8(model: FrozenModel, path: Path, cohort: Cohort) -> Loss:
    """Write a model as an ONNX graph whose networks compute in 8 bits.

    Scales are learnt from pictures of the cohort, at most `CALIBRATED` patients of it; the loss is measured on all.

    Raises:
        ModelError: If ONNX is not installed, or the cohort has no picture that the model takes.
        CohortError, PictureError: If a picture is not the one that was imported, or cannot be read.
        RunError: If the file cannot be written.
    """
    try:
        import onnx
        import onnxruntime
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    except ImportError:
        raise ModelError("--int8: ONNX and its runtime are not installed.", INSTALL_ONNX) from None
    if cohort.fingerprint == model.record.study.fingerprint:
        say(f"{model.root}: was trained on the patients of {cohort.root}, so the loss of AUC may be larger on others.")
    pictures = _gather(model, cohort)
    inputs = list(_inputs_of(model, pictures))
    places = np.unique(np.linspace(0, len(inputs) - 1, CALIBRATED).round().astype(int))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Pictures of some patients, one at a time."""

        def __init__(self) -> None:
            self.rest = iter([inputs[place] for place in places])

        def get_next(self) -> Inputs | None:
            return next(self.rest, None)

    with TemporaryDirectory() as folder:
        whole, small = Path(folder) / "whole.onnx", Path(folder) / "small.onnx"
        write_onnx(model, whole)
        proto = onnx.shape_inference.infer_shapes(onnx.load(whole))
        try:
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
        session = onnxruntime.InferenceSession(small)
        found = np.concatenate([session.run(["probabilities"], each)[0] for each in inputs])
        write_atomically(path, lambda temporary: temporary.write_bytes(small.read_bytes()))
    return _compare(model, cohort, pictures, found)


def _gather(model: FrozenModel, cohort: Cohort) -> PatientPictures:
    """Gather the cohort's pictures as the model takes them, one of each modality."""
    held = [m for m in model.modalities if m in cohort.modalities and cohort.patients_with(m)]
    if not held:
        raise ModelError(
            f"--cohort {cohort.root}: has no picture of {', '.join(model.modalities)}.", "Give a cohort that has some."
        )
    if cohort.classes != model.record.classes:
        raise ModelError(
            f"--cohort {cohort.root}: its classes are {', '.join(cohort.classes)}; the model's are "
            f"{', '.join(model.record.classes)}.",
            "Give a cohort of the same classes.",
        )
    sides = model.record.modalities
    banks = {m: open_bank(cohort, m, sides[m]) if m in held else empty_bank(sides[m]) for m in sides}
    pictures = gather_pictures(banks)
    if pictures.rows.shape[2] > 1:
        several = pictures.patients[(pictures.rows >= 0).sum(axis=2).max(axis=1) > 1][0]
        raise ModelError(
            f"--cohort {cohort.root}: patient {several} has several pictures of a modality; the graph takes one.",
            "Give a cohort with one picture of each modality.",
        )
    return pictures


def _inputs_of(model: FrozenModel, pictures: PatientPictures) -> Iterator[Inputs]:
    """Yield the inputs of the graph for each patient."""
    for position in range(len(pictures.patients)):
        batch = pictures.cut(np.array([position]))
        squares = [views[:, 0].permute(0, 2, 3, 1).contiguous().numpy() for views in batch.pictures]
        yield {**dict(zip(model.modalities, squares, strict=True)), PRESENT: batch.modalities_present.numpy()}


def _exact_nodes(proto: "onnx.ModelProto") -> list[str]:
    """List the nodes that compute in double precision: the resize, the calibration and the distances."""
    wide = {value.name for value in proto.graph.value_info if value.type.tensor_type.elem_type == DOUBLE}
    wide |= {value.name for value in proto.graph.initializer if value.data_type == DOUBLE}
    return [node.name for node in proto.graph.node if wide & {*node.input, *node.output}]


def _compare(model: FrozenModel, cohort: Cohort, pictures: PatientPictures, found: np.ndarray) -> Loss:
    """Compare probabilities (P, C) of the graph with the model's own."""
    expected = answer(model, pictures, cohort.patients).probs
    enough = np.bincount(pictures.labels, minlength=len(cohort.classes)).min() >= 2
    ours, theirs = (aucs(pictures.labels, each.astype(float)).macro for each in (expected, found)) if enough else (0, 0)
    loss = float(ours - theirs) if enough else None
    agreement = float((expected.argmax(axis=1) == found.argmax(axis=1)).mean())
    return Loss(len(found), loss, agreement, float(np.abs(expected - found).max()))
