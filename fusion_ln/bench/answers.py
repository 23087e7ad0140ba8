"""Speed of a model that answers."""

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from statistics import median

import torch

from fusion_ln.bench.matrices import against_matrices, count_operations
from fusion_ln.bench.record import Figure, measure, seconds
from fusion_ln.bench.starting import WITH_TORCH, WITHOUT_TORCH, run_python
from fusion_ln.cohort.default import simulate_phantom
from fusion_ln.cohort.phantom.examples import draw_examples
from fusion_ln.cohort.phantom.findings import tables
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.errors import ModelError, SettingsError
from fusion_ln.export.engine.choice import installed
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.freeze import freeze
from fusion_ln.predict.predictor import Predictor, load_predictor
from fusion_ln.progress import say
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import AnswerEngine

TIMES = 9  # that a short task is repeated; the median counts
ENGINES: dict[str, AnswerEngine] = {"torch": "torch", "onnxruntime": "onnx"}  # by package
FLOORS = {"torch": WITH_TORCH, "onnxruntime": WITHOUT_TORCH}
COMMAND = "from fusion_ln.cli.main import cli; cli()"
SEED = 20_260_001  # of patients whom no command draws by default


def predict_figures(root: Path, *, patients: int) -> Iterator[Figure]:
    """Time what a model does: how long it takes to load, to answer for a patient and for many.

    Args:
        root: Folder of a model, or of a run: it is frozen first.
        patients: Simulated patients to answer for at once, their pictures read from files.

    Raises:
        ModelError, RunError: If ``root`` is neither.
        SettingsError: If the model takes no modality of the phantom.
    """
    with tempfile.TemporaryDirectory() as folder:
        model = root
        if not ModelFolder(root).record.is_file():
            model = Path(folder) / "model"
            _quietly(lambda: freeze(RunFolder(root), model, licence="none"))
        predictors = _load_predictors(model)
        record = predictors["torch"].model.record
        known = tables().modalities
        present = [modality for modality in record.modalities if modality in known]
        if not present:
            raise SettingsError(
                f"{root}: takes {', '.join(record.modalities)}; simulated patients have {', '.join(known)}.",
                "Time a model of some of these modalities.",
            )
        held = [file for file in model.rglob("*") if file.is_file()]
        files = _write_examples(Path(folder), present)
        settings = PhantomSettings(patients=patients, image_size=max(record.modalities.values()), seed=SEED)
        cohort = simulate_phantom(Path(folder) / "cohort", settings)
        operations = _operations(predictors["torch"], present)
        for name, predictor in predictors.items():
            load = partial(_quietly, partial(load_predictor, model, engine=ENGINES[name]))
            read = partial(_read_all, held)
            yield measure("predict", f"loading, {name}", load, "reading of its files", read, rounds=TIMES)
            answer = partial(_quietly, partial(predictor.predict_pictures, files))
            took = median(seconds(answer) for _ in range(TIMES))
            yield against_matrices("predict", f"one patient, {name}", took, operations)
            took = seconds(partial(_quietly, partial(predictor.predict_cohort, cohort))) / patients
            yield against_matrices("predict", f"a patient of {patients}, {name}", took, operations)
            given = [part for modality, file in files.items() for part in ("--picture", f"{modality}={file}")]
            whole = partial(run_python, COMMAND, "predict", str(model), *given, "--engine", ENGINES[name])
            least = partial(run_python, FLOORS[name])
            yield measure("predict", f"the whole command, one patient, {name}", whole, f"`{FLOORS[name]}`", least)


def _load_predictors(model: Path) -> dict[str, Predictor]:
    """Load a model once per engine that can compute its networks here, by the engine's package."""
    predictors = {"torch": load_predictor(model)}
    if installed():
        try:
            predictors["onnxruntime"] = load_predictor(model, engine=ENGINES["onnxruntime"])  # traces, once and for all
        except ModelError as error:
            say(f"Timed in torch alone: {error}")
    return predictors


def _operations(predictor: Predictor, present: Sequence[str]) -> int:
    """Count the operations of all networks of a model on one picture of each modality."""

    def encode() -> None:
        for model in predictor.model.models:
            for modality in present:
                side = model.sides[modality]
                model.encode(modality, torch.zeros(1, 1, 3, side, side), torch.ones(1, 1, dtype=torch.bool))

    with torch.no_grad():
        return count_operations(encode)


def _quietly(work: Callable[[], object]) -> None:
    """Call, and leave its own words unsaid."""
    with redirect_stderr(io.StringIO()):
        work()


def _read_all(files: Sequence[Path]) -> None:
    for file in files:
        file.read_bytes()


def _write_examples(folder: Path, modalities: Sequence[str]) -> dict[str, Path]:
    """Write a simulated patient's pictures as PNG."""
    pictures = draw_examples(per_class=1, side=192)[0].pictures
    files = {modality: folder / f"{modality}.png" for modality in modalities}
    for modality, file in files.items():
        pictures[modality].save(file)
    return files
