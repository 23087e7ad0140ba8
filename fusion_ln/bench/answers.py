"""Speed of a model: how long it takes to freeze, to load, to answer for a patient and for many."""

import io
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path

import numpy as np

from fusion_ln.bench.page import header, table_head, table_row
from fusion_ln.cohort.default import simulate_phantom
from fusion_ln.cohort.phantom.examples import draw_examples
from fusion_ln.cohort.phantom.findings import tables
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.errors import ModelError, SettingsError
from fusion_ln.export.trunks import installed
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.freeze import freeze
from fusion_ln.predict.predictor import Predictor, load_predictor
from fusion_ln.progress import say
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import AnswerEngine

TIMES = 9  # that a short task is repeated; its row gives their median
ENGINES: dict[str, AnswerEngine] = {"torch": "torch", "onnxruntime": "onnx"}  # by package
SEED = 20_260_001  # of patients whom no command draws by default


def answers_page(root: Path, *, patients: int) -> Iterator[str]:
    """Time what a model does, and yield the lines of the page, each when it is known.

    Args:
        root: Folder of a model, or of a run: it is frozen first, which is timed, too.
        patients: Simulated patients to answer for at once, their pictures read from files.

    Raises:
        ModelError, RunError: If ``root`` is neither.
        SettingsError: If the model takes no modality of the phantom.
    """
    with tempfile.TemporaryDirectory() as folder:
        model, freezing = root, ""
        if not ModelFolder(root).record.is_file():
            model = Path(folder) / "model"
            freezing = _seconds([lambda: freeze(RunFolder(root), model, licence="none")])
        predictors = _load_predictors(model)
        predictor = predictors["torch"]
        record = predictor.model.record
        known = tables().modalities
        present = [modality for modality in record.modalities if modality in known]
        if not present:
            raise SettingsError(
                f"{root}: takes {', '.join(record.modalities)}; simulated patients have {', '.join(known)}.",
                "Time a model of some of these modalities.",
            )
        size = max(record.modalities.values())
        taken = f"{len(predictor.model.models)} models of {', '.join(record.modalities)} at {size} pixels"
        yield from header("How fast a model answers", ["fusion_ln", "timm", *predictors], f"{record.title}: {taken}.")
        yield from table_head(["Task", *(f"Seconds, {name}" for name in predictors)])
        if freezing:
            yield table_row(["freezing", *[freezing] * len(predictors)])
        loads = [partial(load_predictor, model, engine=engine) for engine in (ENGINES[name] for name in predictors)]
        yield table_row(["loading", *(_seconds([load] * TIMES) for load in loads)])
        files = _write_examples(Path(folder), present)
        one = [partial(each.predict_pictures, files) for each in predictors.values()]
        yield table_row(["one patient", *(_seconds([ask] * TIMES) for ask in one)])
        settings = PhantomSettings(patients=patients, image_size=size, seed=SEED)
        cohort = simulate_phantom(Path(folder) / "cohort", settings)
        many = [partial(each.predict_cohort, cohort) for each in predictors.values()]
        yield table_row([f"{patients} patients", *(_seconds([ask]) for ask in many)])


def _load_predictors(model: Path) -> dict[str, Predictor]:
    """Load a model once per engine that can compute its networks here, by the engine's package."""
    predictors = {"torch": load_predictor(model)}
    if installed():
        try:
            predictors["onnxruntime"] = load_predictor(model, engine=ENGINES["onnxruntime"])  # traces, once and for all
        except ModelError as error:
            say(f"Timed in torch alone: {error}")
    return predictors


def _seconds(tasks: Sequence[Callable[[], object]]) -> str:
    """Time tasks, whose own words are left unsaid; returns the median of their seconds."""
    took = []
    for task in tasks:
        with redirect_stderr(io.StringIO()):
            began = time.perf_counter()
            task()
            took.append(time.perf_counter() - began)
    return f"{np.median(took):.3f}"


def _write_examples(folder: Path, modalities: Sequence[str]) -> dict[str, Path]:
    """Write a simulated patient's pictures as PNG."""
    pictures = draw_examples(per_class=1)[0].pictures
    files = {modality: folder / f"{modality}.png" for modality in modalities}
    for modality, file in files.items():
        pictures[modality].save(file)
    return files
