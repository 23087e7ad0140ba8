"""Graphs of a model's networks and fusions: traced from torch, compared with it, and kept, see `graphs`."""

from collections.abc import Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fusion_ln.errors import ModelError, RunError
from fusion_ln.export.engine.graphs import (
    CLINICAL,
    FEATURES,
    FUSED,
    LOGITS,
    PICTURES,
    PRESENT,
    TOKENS,
    GraphFold,
    KeptFold,
    KeptGraph,
    KeptGraphs,
    graphs_file,
    run_fusion,
    run_network,
    write_graphs,
)
from fusion_ln.export.graph import look
from fusion_ln.export.runtime import open_session
from fusion_ln.export.tracing import TRACED_PATIENTS, adopt_weights, place_outside, trace_module, weights_of
from fusion_ln.files.tensors import map_tensors
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.frozen.record import FREEZE_AGAIN
from fusion_ln.models.fold_model import Encoded, FoldModel
from fusion_ln.models.fusion.base import HeadEnsemble
from fusion_ln.models.torch_fold import TorchFold
from fusion_ln.models.triplet import LateFusion, TripletModel, module_key
from fusion_ln.threads import cores

if TYPE_CHECKING:
    import onnx
    from onnxruntime import InferenceSession

OF_MODEL = "model."  # begins the names of weights in a body
CLOSE = 1e-3  # to torch, relative to the largest value


class NetworkBody(nn.Module):
    """From prepared pictures, uint8 (N, 3, S, S), to what `TripletModel.read` makes of them."""

    def __init__(self, model: TripletModel, modality: str) -> None:
        super().__init__()
        self.model = model
        self.modality = modality
        self.outputs = (TOKENS, LOGITS, FEATURES) if isinstance(model.fusion, HeadEnsemble) else (LOGITS, FEATURES)

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Compute tokens where the fusion reads some, logits, and features."""
        return look(self.model, self.modality, pictures.float() / 255)[-len(self.outputs) :]


class FusionBody(nn.Module):
    """From what was made of all pictures to logits, as `TripletModel.fuse_stacked`."""

    outputs = (FUSED,)

    def __init__(self, model: TripletModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, logits: Tensor, present: Tensor, clinical: Tensor) -> Tensor:
        """Fuse to logits (B, C)."""
        return self.model.fuse_stacked(tokens, logits, present, clinical)


Body = NetworkBody | FusionBody
GraphNames = tuple[dict[str, str], str]  # of the networks by modality, and of the fusion


@dataclass
class Traced:
    """Graphs that were traced so far, each once for all folds whose networks or fusions are built alike.

    Attributes:
        graphs: By name.
        weights: Names of the weights that each graph has outside of itself.
        folds: Names of the graphs of each fold.
        examples: What torch makes of pictures, by the graph of a network.
    """

    graphs: "dict[str, onnx.ModelProto]" = field(default_factory=dict)
    weights: dict[str, tuple[str, ...]] = field(default_factory=dict)
    folds: list[GraphNames] = field(default_factory=list)
    examples: dict[str, Encoded] = field(default_factory=dict)
    _alike: dict[object, str] = field(default_factory=dict)

    def add(self, body: Body, built: object, inputs: tuple[Tensor, ...], axes: Mapping[str, Mapping[int, str]]) -> str:
        """Trace a body unless one that is ``built`` alike was; returns the name of its graph.

        Args:
            body: The body.
            built: All that its operators depend on beside its weights.
            inputs: Examples, in the order of ``axes``.
            axes: Free sizes of the inputs and then of the outputs.
        """
        held, lasting = weights_of(body), {f"{OF_MODEL}{name}" for name in body.model.state_dict()}
        fixed = [weight.detach().numpy().tobytes() for name, weight in held.items() if name not in lasting]
        key = (type(body), built, *((name, tuple(weight.shape)) for name, weight in held.items()), *fixed)
        if key not in self._alike:
            self._alike[key] = self._trace(body, inputs, axes, lasting)
        return self._alike[key]

    def _trace(
        self, body: Body, inputs: tuple[Tensor, ...], axes: Mapping[str, Mapping[int, str]], lasting: Container[str]
    ) -> str:
        """Trace a body; weights that no file holds are stored in the graph."""
        import onnx

        proto = trace_module(body, inputs, list(axes)[: len(inputs)], body.outputs, axes)
        arrays = adopt_weights(proto, body)
        stored = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items() if name not in lasting]
        proto.graph.initializer.extend(stored)
        outside = {name: array for name, array in arrays.items() if name in lasting}
        place_outside(proto, outside, "weights")
        name = f"{len(self.graphs)}.onnx"
        self.graphs[name], self.weights[name] = proto, tuple(outside)
        return name

    def open(self, graph: str, body: Body) -> "InferenceSession":
        """Open a graph with the weights of a body."""
        held = weights_of(body)
        weights = {name: held[name].detach().numpy() for name in self.weights[graph]}
        return open_session(self.graphs[graph].SerializeToString(), "the graph of a network", weights)


def trace_graphs(model: FrozenModel) -> Traced:
    """Trace the graphs of a model, and compare each of them with torch in the first fold that it serves.

    Raises:
        ModelError: If ONNX is not installed, lacks an operator, or gives other values.
    """
    traced = Traced()
    for place in range(len(model.models)):
        networks = _trace_networks(traced, model, place)
        traced.folds.append((networks, _trace_fusion(traced, model, place, networks)))
    return traced


def open_traced(model: FrozenModel, traced: Traced) -> list[FoldModel]:
    """Open the graphs of a model with the weights that torch holds."""
    jobs: list[tuple[str, Body]] = []
    for one, (networks, fusion) in zip(model.models, traced.folds, strict=True):
        jobs += [(graph, NetworkBody(one, modality)) for modality, graph in networks.items()]
        jobs.append((fusion, FusionBody(one)))
    with ThreadPoolExecutor(cores()) as pool:
        opened = pool.map(lambda job: traced.open(*job), jobs)
        return [
            GraphFold(one.columns, {modality: next(opened) for modality in networks}, next(opened))
            for one, (networks, _) in zip(model.models, traced.folds, strict=True)
        ]


def _trace_networks(traced: Traced, model: FrozenModel, place: int) -> dict[str, str]:
    """Trace the networks of a fold; returns the names of their graphs, by modality."""
    one, rng, names = model.models[place], np.random.default_rng(0), {}
    for modality, side in model.record.modalities.items():
        body, before = NetworkBody(one, modality).eval(), len(traced.graphs)
        pictures = rng.integers(0, 256, (TRACED_PATIENTS, 3, side, side), np.uint8)
        axes = {name: {0: "batch"} for name in (PICTURES, *body.outputs)}
        graph = traced.add(
            body, (modality, one.grid, str(one), repr(one.networks)), (torch.from_numpy(pictures),), axes
        )
        if len(traced.graphs) > before:
            expected = TorchFold(one).encode(modality, pictures)
            found = run_network(traced.open(graph, body), pictures)
            for part in (TOKENS, LOGITS, FEATURES):
                _refuse_other(model, f"the network of {modality}", getattr(found, part), getattr(expected, part))
            traced.examples[graph] = expected
        names[modality] = graph
    return names


def _trace_fusion(traced: Traced, model: FrozenModel, place: int, networks: Mapping[str, str]) -> str:
    """Trace the fusion of a fold, which reads what its networks make of pictures; returns the name of its graph."""
    one, before = model.models[place], len(traced.graphs)
    body = FusionBody(one).eval()
    encoded = [traced.examples[graph] for graph in networks.values()]
    inputs = _fusion_inputs(encoded, len(one.columns), np.random.default_rng(1))
    batch, views = {0: "batch"}, {0: "batch", 2: "views"}
    axes = {TOKENS: views, LOGITS: views, PRESENT: views, CLINICAL: batch, FUSED: batch}
    head = model.record.head[place] if model.record.head else None
    learnt = (one.fusion.head, repr(one.fusion.learnt)) if isinstance(one.fusion, LateFusion) else ()
    built = (str(one.fusion), head.model_dump_json() if head else "", *learnt)
    graph = traced.add(body, built, tuple(torch.from_numpy(each) for each in inputs), axes)
    if len(traced.graphs) > before:
        found = run_fusion(traced.open(graph, body), *inputs)
        _refuse_other(model, "the fusion", found, TorchFold(one).fuse(*inputs))
    return graph


def _fusion_inputs(
    encoded: Sequence[Encoded], n_columns: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Make the inputs of `FoldModel.fuse` from pictures of every modality: two views each, some of them absent."""
    tokens, logits = (np.stack([getattr(each, part) for each in encoded], 1) for part in (TOKENS, LOGITS))
    present = np.ones((len(logits), len(encoded), 2), dtype=bool)
    present[1, 0, 1] = present[0, 1:] = False
    clinical = rng.normal(size=(len(logits), n_columns)).astype(np.float32)
    return np.stack([tokens, tokens / 2], 2), np.stack([logits, logits / 2], 2), present, clinical


def _refuse_other(model: FrozenModel, part: str, found: np.ndarray, expected: np.ndarray) -> None:
    """Refuse values that are not torch's.

    Raises:
        ModelError: Naming the part of the model.
    """
    largest = max(float(np.abs(expected).max(initial=0)), 1.0)
    if not (away := float(np.abs(found - expected).max(initial=0))) <= CLOSE * largest:
        raise ModelError(
            f"{model.root}: {part} gives other values in onnxruntime (by up to {away:.2g}).",
            "Answer with `--engine torch`.",
        )


def keep_graphs(model: FrozenModel, traced: Traced) -> tuple[KeptGraphs, dict[str, bytes]] | None:
    """Keep the graphs of a frozen model, and where in its folder the weights of each fold lie.

    Returns:
        What `read_graphs` gives from then on; None where the folder lacks a weight, as that of a model in memory.
    """
    if model.digest is None:
        return None
    kept = []
    for place, (networks, fusion) in enumerate(traced.folds):
        files = _WeightFiles(model, place)
        try:
            graphs = {
                name: KeptGraph(name=name, weights={each: files.find(each) for each in traced.weights[name]})
                for name in (*networks.values(), fusion)
            }
        except RunError:
            return None
        of_networks = {modality: graphs[name] for modality, name in networks.items()}
        kept.append(KeptFold(columns=model.models[place].columns, networks=of_networks, fusion=graphs[fusion]))
    described = KeptGraphs(architectures=architectures_of(model), folds=tuple(kept))
    content = {name: bytes(proto.SerializeToString()) for name, proto in traced.graphs.items()}
    write_graphs(graphs_file(model.digest), described, content)
    return described, content


class _WeightFiles:
    """Weights of the model at a place of a record's `numbers`, in the files of its folder."""

    def __init__(self, model: FrozenModel, place: int) -> None:
        folder, record, number = ModelFolder(model.root), model.record, model.record.numbers[place]
        keys = {modality: module_key(modality) for modality in record.modalities}
        self._files = {
            **{f"{OF_MODEL}members.{key}.": folder.network(modality, number) for modality, key in keys.items()},
            **{f"{OF_MODEL}sources.{key}.": folder.source(modality) for modality, key in keys.items()},
            f"{OF_MODEL}fusion.": folder.head(number),
        }
        if record.head and record.head[place].finetune:
            self._files = {OF_MODEL: folder.head(number)}  # holds the whole model
        self._mapped = dict[Path, dict[str, np.ndarray]]()
        self._held = weights_of(model.models[place])

    def find(self, name: str) -> tuple[str, str]:
        """Find the file that holds a weight of a graph, and its name there.

        Raises:
            RunError: If the file is missing or damaged, or holds another weight than the model.
        """
        begin, path = next(each for each in self._files.items() if name.startswith(each[0]))
        if path not in self._mapped:
            self._mapped[path] = map_tensors(path, FREEZE_AGAIN)
        key, expected = name.removeprefix(begin), self._held[name.removeprefix(OF_MODEL)].detach().numpy()
        if not np.array_equal(self._mapped[path].get(key), expected):  # type: ignore[arg-type]  # None equals none
            raise RunError(f"{path}: holds no {name}.", FREEZE_AGAIN)
        return path.name, key


def architectures_of(model: FrozenModel) -> tuple[str, ...]:
    """List timm's names of a model's networks."""
    members: list[Any] = [each for one in model.models for each in one.members.values()]
    return tuple(dict.fromkeys(each.backbone.architecture for each in members))
