"""Tracing of modules as ONNX graphs, and their weights within or beside them."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fusion_ln.errors import ModelError, in_short
from fusion_ln.export.runtime import INSTALL_ONNX, OPSET
from fusion_ln.models.backbones import Backbone

if TYPE_CHECKING:
    import onnx

AS_IT_IS = "Use the model as it is: `fusionln predict`, `fusionln serve`."
TRACED_PATIENTS = 2  # a batch of one would be taken for the only size there is


def trace_module(
    module: nn.Module,
    inputs: tuple[object, ...],
    names: Sequence[str],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
) -> "onnx.ModelProto":
    """Trace a module whose inputs and outputs have names, and free sizes along ``axes``; as `torch.onnx.export` has it.

    Raises:
        ModelError: If ONNX is not installed, or lacks an operator.
    """
    try:
        import onnx
    except ImportError:
        raise ModelError("ONNX is not installed.", INSTALL_ONNX) from None
    with plain_operators(), TemporaryDirectory() as folder:
        file = Path(folder) / "graph.onnx"
        try:
            torch.onnx.export(
                module,
                inputs,
                file,
                input_names=list(names),
                output_names=list(outputs),
                dynamic_axes=axes,
                opset_version=OPSET,
                export_params=False,
                do_constant_folding=False,
                dynamo=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ModelError(
                f"ONNX (opset {OPSET}) cannot express {_backbones(module)}: {in_short(error)}.",
                "Use the model as it is, or train it with another backbone, such as `resnet18`.",
            ) from error
        except RuntimeError as error:
            raise ModelError(f"Tracing for ONNX ended in an error of torch: {in_short(error)}.", AS_IT_IS) from error
        return onnx.load(file)


def _backbones(module: nn.Module) -> str:
    """Name the timm networks of a module."""
    names = [each.architecture or "a network" for each in module.modules() if isinstance(each, Backbone)]
    return ", ".join(dict.fromkeys(names)) or "this head"


@contextmanager
def plain_operators() -> Iterator[None]:
    """Keep torch from kernels of its own that ONNX lacks, and the tracer from speaking, while the context is open."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def adopt_weights(proto: "onnx.ModelProto", graph: nn.Module) -> dict[str, np.ndarray]:
    """Take the weights of a traced module off the inputs of its graph, and return those that are read, by name."""
    held = weights_of(graph)
    # Where two weights are equal the tracer copies one, at times after it is read: each gets its own value instead.
    copies = {node.output[0] for node in proto.graph.node if node.op_type == "Identity"} & held.keys()
    kept = [node for node in proto.graph.node if node.output[0] not in copies]
    inputs = [entry for entry in proto.graph.input if entry.name not in held]
    del proto.graph.input[:], proto.graph.node[:]
    proto.graph.input.extend(inputs)
    proto.graph.node.extend(kept)
    read = dict.fromkeys(name for node in kept for name in node.input)
    return {name: held[name].detach().cpu().numpy() for name in read if name in held}


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Collect parameters and buffers, by name, shared ones under each of their names."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def place_outside(proto: "onnx.ModelProto", arrays: Mapping[str, np.ndarray], location: str) -> None:
    """Declare weights that lie one behind the other in another file."""
    import onnx

    offset = 0
    for name, array in arrays.items():
        stored = proto.graph.initializer.add(
            name=name,
            dims=array.shape,
            data_type=onnx.helper.np_dtype_to_tensor_dtype(array.dtype),
            data_location=onnx.TensorProto.EXTERNAL,
        )
        place = {"location": location, "offset": offset, "length": array.nbytes}
        for key, value in place.items():
            stored.external_data.add(key=key, value=str(value))
        offset += array.nbytes
