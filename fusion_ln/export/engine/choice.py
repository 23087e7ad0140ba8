"""Choice of what computes a model's networks and fusions: torch, or onnxruntime; needs neither to choose."""

import importlib.util
from contextlib import suppress
from dataclasses import replace

from fusion_ln.errors import ModelError
from fusion_ln.export.engine.graphs import graphs_file, open_graphs, read_graphs
from fusion_ln.export.runtime import INSTALL_ONNX
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.progress import say
from fusion_ln.settings.devices import AnswerEngine

# Families, as timm's names begin, that answered faster in onnxruntime at 96 and 224 pixels, for one patient and for
# 16: experiments/benchmarks/onnx_engine.md. The rule is fixed, so that answers do not depend on how busy a machine is.
FASTER = ("resnet", "convnext", "efficientnet", "tf_efficientnet", "vit")


def choose_engine(model: FrozenModel, engine: AnswerEngine, *, lasting: bool) -> FrozenModel:
    """Let a model answer in onnxruntime where that is asked for or, under ``auto``, where it is faster.

    Args:
        model: The model.
        engine: ``auto`` never fails for want of onnxruntime or of an operator: then torch answers.
        lasting: Whether many patients are to be answered for; for one, only the graphs of a frozen model, which are
            kept, save more time than they take.

    Raises:
        ModelError: If ``onnx`` is asked for and is not installed, or cannot express the model.
        RunError: If torch answers, and a checkpoint is not what the record describes.
    """
    if engine == "onnx":
        return with_graphs(model, lasting=lasting)
    if engine == "auto" and installed() and (lasting or model.digest):
        with suppress(ModelError):
            model = with_graphs(model, FASTER, lasting=lasting)
    if not model.graphs:
        _ = model.models[0]  # loads all of them: what is damaged is told now
    return model


def installed() -> bool:
    """Test if ONNX and its runtime are installed."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def engine_of(model: FrozenModel) -> dict[str, str]:
    """Name what computes a model's networks and fusions, with its version."""
    if model.graphs:
        import onnxruntime

        return {"name": "onnxruntime", "version": onnxruntime.__version__}
    import torch

    return {"name": "torch", "version": str(torch.__version__)}


def with_graphs(model: FrozenModel, families: tuple[str, ...] = ("",), *, lasting: bool = True) -> FrozenModel:
    """Let a model answer in onnxruntime: by the graphs that are kept, or by new ones, which take torch to make.

    Args:
        model: The model.
        families: Beginnings of timm's names of networks; a model of others is returned as it is.
        lasting: Whether many patients are to be answered for.

    Raises:
        ModelError: If ONNX or its runtime is not installed, or cannot express the model.
        RunError: If a checkpoint is not what the record describes.
    """
    if not installed():
        raise ModelError(
            "--engine onnx: ONNX and its runtime are not installed.", f"{INSTALL_ONNX} Or `--engine torch`."
        )
    kept = read_graphs(graphs_file(model.digest)) if model.digest else None
    if kept is None:
        from fusion_ln.export.engine.traced import architectures_of, keep_graphs, open_traced, trace_graphs

        if not all(name.startswith(families) for name in architectures_of(model)):
            return model
        if model.digest:
            say(f"{model.root}: makes its graphs for onnxruntime, once; later answers start without torch.")
        traced = trace_graphs(model)
        kept = keep_graphs(model, traced)
        if kept is None:
            return replace(model, graphs=open_traced(model, traced))
    described, graphs = kept
    if not all(name.startswith(families) for name in described.architectures):
        return model
    return replace(model, graphs=open_graphs(model.root, described, graphs, lasting=lasting))
