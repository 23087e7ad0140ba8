"""Graphs of a model's networks and fusions, kept in the cache without their weights, which lie in the model's folder.

What is here needs no torch: a command that finds the graphs starts without it.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusion_ln import __version__
from fusion_ln.cohort.clinical import ClinicalColumn
from fusion_ln.errors import RunError
from fusion_ln.export.runtime import OPSET, open_session
from fusion_ln.files.atomic import write_atomically
from fusion_ln.files.tensors import map_tensors
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.record import FREEZE_AGAIN
from fusion_ln.models.fold_model import Encoded, FoldModel
from fusion_ln.progress import say
from fusion_ln.records.parts import Strict
from fusion_ln.terms import cache_folder
from fusion_ln.threads import cores

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FORMAT = 2  # of the files of graphs
DESCRIBED = "graphs.json"  # in such a file
# Names of inputs and outputs.
PICTURES, TOKENS, LOGITS, FEATURES = "pictures", "tokens", "logits", "features"
PRESENT, CLINICAL, FUSED = "present", "clinical", "fused"


class GraphFold:
    """A `FoldModel` that onnxruntime computes.

    Attributes:
        columns: Clinical columns that the fusion takes.
        networks: By modality.
        fusion: From tokens, logits, presence mask and columns to logits.
    """

    def __init__(
        self, columns: Sequence[ClinicalColumn], networks: "Mapping[str, InferenceSession]", fusion: "InferenceSession"
    ) -> None:
        self.columns = columns
        self.networks = networks
        self.fusion = fusion

    def encode(self, modality: str, pictures: np.ndarray) -> Encoded:
        return run_network(self.networks[modality], pictures)

    def fuse(self, tokens: np.ndarray, logits: np.ndarray, present: np.ndarray, clinical: np.ndarray) -> np.ndarray:
        return run_fusion(self.fusion, tokens, logits, present, clinical)


def run_network(session: "InferenceSession", pictures: np.ndarray) -> Encoded:
    """Run the graph of a network as `FoldModel.encode`."""
    found = _run(session, {PICTURES: pictures})
    none = np.zeros((len(pictures), 0, 0), np.float32)
    return Encoded(found.get(TOKENS, none), found[LOGITS], found[FEATURES])


def run_fusion(
    session: "InferenceSession", tokens: np.ndarray, logits: np.ndarray, present: np.ndarray, clinical: np.ndarray
) -> np.ndarray:
    """Run the graph of a fusion as `FoldModel.fuse`."""
    return _run(session, {TOKENS: tokens, LOGITS: logits, PRESENT: present, CLINICAL: clinical})[FUSED]


def _run(session: "InferenceSession", values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a graph on those of the values that it reads; returns its outputs by name."""
    names = [each.name for each in session.get_outputs()]
    read = {each.name: values[each.name] for each in session.get_inputs()}
    return dict(zip(names, session.run(names, read), strict=True))


class KeptGraph(Strict):
    """A graph, by its name in the file, and where each of its weights lies: file of the model's folder, name there."""

    name: str
    weights: dict[str, tuple[str, str]]


class KeptFold(Strict):
    """Graphs of a model of a fold."""

    columns: tuple[ClinicalColumn, ...]
    networks: dict[str, KeptGraph]
    fusion: KeptGraph


class KeptGraphs(Strict):
    """Description of a model's graphs: timm's names of its networks, and the graphs of its folds in their order."""

    architectures: tuple[str, ...]
    folds: tuple[KeptFold, ...]

    @property
    def of_all(self) -> list[KeptGraph]:
        """The graphs of every fold: its networks', then its fusion's."""
        return [graph for fold in self.folds for graph in (*fold.networks.values(), fold.fusion)]


def graphs_file(digest: str) -> Path:
    """Locate the graphs of a model in the cache, on disk or not, by all that they depend on."""
    versions = {name: version(name) for name in ("torch", "timm", "onnx")}
    found = json.dumps([FORMAT, OPSET, digest, __version__, versions])
    return cache_folder() / "graphs" / f"{hashlib.sha256(found.encode()).hexdigest()[:32]}.zip"


def write_graphs(path: Path, described: KeptGraphs, graphs: Mapping[str, bytes]) -> None:
    """Keep graphs; of a cache that takes no file it says that they are made anew next time."""

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(DESCRIBED, described.model_dump_json())
            for name, content in graphs.items():
                file.writestr(name, content)

    try:
        write_atomically(path, write)
    except RunError as error:
        say(f"{error.problem} So the graphs are not kept: the next answer makes them anew.")


def read_graphs(path: Path) -> tuple[KeptGraphs, dict[str, bytes]] | None:
    """Read kept graphs; None where there are none, or the file is damaged, which its checksums tell."""
    try:
        with zipfile.ZipFile(path) as file:
            described = KeptGraphs.model_validate_json(file.read(DESCRIBED))
            names = dict.fromkeys(graph.name for graph in described.of_all)
            return described, {name: file.read(name) for name in names}
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, LookupError, EOFError):
        return None  # where a byte is wrong decides which of them


def open_graphs(root: Path, kept: KeptGraphs, graphs: Mapping[str, bytes], *, lasting: bool) -> list[FoldModel]:
    """Open the graphs of a model, which find their weights in its folder.

    Args:
        root: The model's folder, whose files are those of its digest.
        kept: Description of the graphs.
        graphs: By name.
        lasting: Rewrite the graphs to be faster: for one patient that takes longer than it saves.

    Raises:
        ModelError: If onnxruntime cannot open a graph.
        RunError: If a file of weights is damaged.
    """
    jobs = kept.of_all
    names = dict.fromkeys(file for graph in jobs for file, _ in graph.weights.values())
    files = {name: map_tensors(ModelFolder(root).weights / name, FREEZE_AGAIN) for name in names}

    def start(graph: KeptGraph) -> "InferenceSession":
        weights = {name: files[file][held] for name, (file, held) in graph.weights.items()}
        return open_session(graphs[graph.name], f"{root}: graph {graph.name}", weights, rewrite=lasting)

    with ThreadPoolExecutor(cores()) as pool:
        opened = pool.map(start, jobs)
        return [
            GraphFold(fold.columns, {modality: next(opened) for modality in fold.networks}, next(opened))
            for fold in kept.folds
        ]
