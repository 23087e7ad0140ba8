"""Networks of a model in onnxruntime, up to their feature maps; heads, calibration and explanations stay in torch.

The graph of a network holds no weights, a few kilobytes: all folds of a modality share it, and it is kept in the cache.
Weights are those that torch has read.
"""

import hashlib
import importlib.util
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fusion_ln.errors import ModelError, RunError
from fusion_ln.export.runtime import INSTALL_ONNX, open_session
from fusion_ln.export.tracing import (
    OPSET,
    TRACED_PATIENTS,
    adopt_weights,
    place_outside,
    trace_module,
    weights_of,
)
from fusion_ln.files.atomic import write_atomically
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.models.triplet import TripletModel, Trunk, module_key
from fusion_ln.settings.devices import AnswerEngine
from fusion_ln.terms import cache_folder
from fusion_ln.threads import cores

if TYPE_CHECKING:
    import onnx

FORMAT = 1  # of the graphs in the cache
CLOSE = 1e-3  # to torch, relative to the largest value of a map
# Families, as timm's names begin, that answered faster in onnxruntime at 96 and 224 pixels, for one patient and for
# 16: experiments/benchmarks/onnx_engine.md. The rule is fixed, so that answers do not depend on how busy a machine is.
FASTER = ("resnet", "convnext", "efficientnet", "tf_efficientnet", "vit")


def choose_trunks(model: FrozenModel, engine: AnswerEngine, *, lasting: bool) -> FrozenModel:
    """Let a model's networks answer in onnxruntime where that is asked for or, under ``auto``, where it is faster.

    Args:
        model: The model.
        engine: ``auto`` never fails for want of onnxruntime or of an operator: then torch answers.
        lasting: Whether many patients are to be answered for; for one, opening the graphs takes longer than they save.

    Raises:
        ModelError: If ``onnx`` is asked for and is not installed, or cannot express the networks.
    """
    if engine == "onnx":
        return with_trunks(model)
    members: list[Any] = [each for one in model.models for each in one.members.values()]
    names = {each.backbone.architecture for each in members}
    if engine == "torch" or not lasting or not installed() or not all(name.startswith(FASTER) for name in names):
        return model
    try:
        return with_trunks(model)
    except ModelError:
        return model


def installed() -> bool:
    """Test if ONNX and its runtime are installed."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def engine_of(model: FrozenModel) -> dict[str, str]:
    """Name what computes a model's networks, with its version; heads and calibration are torch's in any case."""
    if not model.trunks:
        return {"name": "torch", "version": str(torch.__version__)}
    import onnxruntime

    return {"name": "onnxruntime", "version": onnxruntime.__version__}


def with_trunks(model: FrozenModel) -> FrozenModel:
    """Let the networks of a model answer in onnxruntime.

    Raises:
        ModelError: If ONNX or its runtime is not installed, or cannot express the networks.
    """
    if not installed():
        raise ModelError(
            "--engine onnx: ONNX and its runtime are not installed.", f"{INSTALL_ONNX} Or `--engine torch`."
        )
    graphs = {modality: _graph_of(model, modality) for modality in model.modalities}
    jobs = [(one, modality) for one in model.models for modality in graphs]
    with ThreadPoolExecutor(cores()) as pool:
        opened = pool.map(lambda job: _open_trunk(graphs[job[1]], TrunkBody(*job)), jobs)
    return replace(model, trunks=[{modality: next(opened) for modality in graphs} for _ in model.models])


class TrunkBody(nn.Module):
    """From pictures in [0, 1], (B, 3, S, S), to the feature maps of a network."""

    def __init__(self, model: TripletModel, modality: str) -> None:
        super().__init__()
        member: Any = model.members[module_key(modality)]
        self.backbone = member.backbone

    def forward(self, pictures: Tensor) -> Tensor:
        """Compute the maps, in the network's own layout."""
        maps: Tensor = self.backbone.feature_map(pictures)
        return maps


def _graph_of(model: FrozenModel, modality: str) -> "onnx.ModelProto":
    """Read the graph of a modality's networks from the cache, or trace it, compare it with torch and keep it."""
    import onnx

    path = _place_of(model, modality)
    if path and path.is_file():
        try:
            kept = onnx.load(path, load_external_data=False)
        except Exception:  # protobuf's own errors: written by a disk that lost a part
            kept = onnx.ModelProto()
        if kept.graph.node:  # an empty file is a sound message without a graph
            return kept
        path.unlink(missing_ok=True)
    body, side = TrunkBody(model.models[0], modality).eval(), model.record.modalities[modality]
    pictures = torch.rand(TRACED_PATIENTS, 3, side, side, generator=torch.Generator().manual_seed(0))
    axes = {name: {0: "batch"} for name in ("pictures", "maps")}
    proto = trace_module(body, (pictures,), ["pictures"], ["maps"], axes)
    place_outside(proto, adopt_weights(proto, body), "weights")
    with torch.inference_mode():
        expected = body(pictures)
        found = _open_trunk(proto, body)(pictures)
    away, largest = float((found - expected).abs().max()), float(expected.abs().max())
    if not away <= CLOSE * max(largest, 1.0):
        raise ModelError(
            f"{model.root}: the network of {modality} gives other values in onnxruntime (by up to {away:.2g}).",
            "Answer with `--engine torch`.",
        )
    if path:
        with suppress(RunError):  # a cache that takes no file: the graph is traced again next time
            write_atomically(path, lambda temporary: temporary.write_bytes(proto.SerializeToString()))
    return proto


def _place_of(model: FrozenModel, modality: str) -> Path | None:
    """Name the graph's file in the cache, after all that it depends on; None for a model without a digest."""
    if model.digest is None:
        return None
    versions = {name: version(name) for name in ("torch", "timm", "onnx")}
    found = json.dumps([FORMAT, OPSET, model.digest, modality, versions])
    return cache_folder() / "graphs" / f"{hashlib.sha256(found.encode()).hexdigest()[:32]}.onnx"


def _open_trunk(proto: "onnx.ModelProto", body: TrunkBody) -> Trunk:
    """Open a graph with the weights of a network."""
    held = weights_of(body)
    weights = {each.name: held[each.name].detach().numpy() for each in proto.graph.initializer}
    session = open_session(proto.SerializeToString(), "the graph of a network", weights)
    return partial(_run, session.run)


def _run(run: Callable[[list[str], dict[str, np.ndarray]], list[np.ndarray]], pictures: Tensor) -> Tensor:
    """Compute the maps of pictures."""
    return torch.from_numpy(run(["maps"], {"pictures": pictures.contiguous().numpy()})[0])
