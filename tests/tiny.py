"""The tiny settings, the builders of tiny cohorts, and the one way to run a command, of all tests."""

import io
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from pkgutil import ModuleInfo, walk_packages
from types import FrameType
from typing import TextIO

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from fusion_ln import report
from fusion_ln.cli.main import cli
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import save_cohort
from fusion_ln.cohort.folds import draw_folds
from fusion_ln.cohort.head import CohortDetails
from fusion_ln.explanations import ExplanationRecord
from fusion_ln.files.formats import write_arrays, write_parquet
from fusion_ln.files.hashes import hash_file
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import FitSettings

CHROMIUM = Path("/usr/bin/chromium")  # Debian's
CLASSES = ("benign", "lymphoma", "metastatic")
MODALITIES = ("2d", "cdfi", "elastic")
CPU = DeviceSettings(device="cpu", workers=1)
FIT = FitSettings(backbone="test_resnet", image_size=32, epochs=1, batch_size=4, head_width=8, precision="32-true")
FIT_TWICE = FIT.model_copy(update={"epochs": 2})
HEAD = HeadSettings(width=16, epochs=2, batch_size=8, copies=1, grid=1)
# The same for the command line.
SECTIONS = ("performance.models", "performance.folds", "methods.learning", "methods.procedure")  # of short reports
ONE_CPU = ("--device", "cpu", "--workers", "1")
NETWORK = ("--backbone", "test_resnet", "--image-size", "32", "--epochs", "1", "--batch-size", "4")
OPTIONS = (*NETWORK, *ONE_CPU)
# The same in the file of an experiment.
FIT_TABLE = """
[fit]
backbone = "test_resnet"
image_size = 32
epochs = 1
batch_size = 4
head_width = 8
"""

# Imported once for all processes that the tests of a session start.
PRELOADED = ("pytest", "fusion_ln.cli.run", "fusion_ln.report.experiment", "fusion_ln.tuning.pool")


@contextmanager
def started(code: str, *arguments: object, **variables: str) -> Iterator[tuple[BaseProcess, TextIO]]:
    """Start a process that does as ``python -c CODE ARGUMENTS`` would, without its seconds of importing torch.

    Yields:
        The process, killed in the end if it still runs; and what it prints.
    """
    from fusion_ln.compute.processes import WORKERS

    reader, writer = WORKERS.Pipe(duplex=False)
    texts = [str(argument) for argument in arguments]
    process = WORKERS.Process(target=execute, args=(writer, code, texts, {**os.environ, **variables}))
    process.start()
    writer.close()
    try:
        with open(os.dup(reader.fileno()), encoding="utf-8") as output:  # noqa: PTH123
            yield process, output
    finally:
        process.kill()
        process.join()


@contextmanager
def handled(
    number: signal.Signals, handler: Callable[[int, FrameType | None], object] | signal.Handlers
) -> Iterator[None]:
    """Handle a signal so while the context is open, whatever an earlier test or the shell left."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def execute(printed: Connection, code: str, arguments: list[str], variables: dict[str, str]) -> None:
    """Be the process of `started`."""
    for stream in (sys.stdout, sys.stderr):
        os.dup2(printed.fileno(), stream.fileno())
    from fusion_ln.compute.processes import init_worker

    init_worker(variables, threads=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    tempfile.tempdir = None  # of these variables
    spare_waiting(pytest.MonkeyPatch())
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})


def finished(code: str, *arguments: object, **variables: str) -> tuple[int | None, str]:
    """Run code in a process of its own, see `started`; returns its exit code and what it printed."""
    with started(code, *arguments, **variables) as (process, output):
        printed = output.read()
        process.join()
        return process.exitcode, printed


def spare_waiting(patch: pytest.MonkeyPatch) -> None:
    """Spare waiting: files of tests outlive no power cut, and Fabric looks through all packages at each fit."""
    patch.setattr(os, "fsync", lambda file: None)
    if "lightning_fabric" in sys.modules:
        patch.setattr("lightning_fabric.fabric._load_external_callbacks", lambda group: [])


def encode_noise(seed: int = 0, side: int = 40, kind: str = "PNG") -> bytes:
    """Encode a picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_cohort(
    root: Path,
    patients: pd.DataFrame,
    draw: Callable[[int, str], np.ndarray],
    *,
    modalities: Sequence[str] = MODALITIES,
    views: int = 1,
    absent: Mapping[int, set[str]] | None = None,
    name: str = "tiny",
    k: int = 2,
    seed: int = 0,
    simulated: bool = False,
    details: CohortDetails | None = None,
) -> Cohort:
    """Write a cohort of `CLASSES` whose pictures are ``draw(label, modality)``.

    ``absent`` maps a patient's number to the modalities that the patient lacks; ``k`` and ``seed`` are of the folds.
    """
    (root / "images").mkdir(parents=True)
    rows = []
    for number, (patient, label) in enumerate(zip(patients["patient_id"], patients["label"], strict=True)):
        for modality in modalities:
            if modality in (absent or {}).get(number, set()):
                continue
            for view in range(views):
                path = root / "images" / f"{patient}-{modality}-{view}.png"
                pixels = draw(label, modality)
                Image.fromarray(pixels).save(path)
                height, width = pixels.shape[:2]
                place = f"images/{path.name}"
                rows.append((path.stem, patient, modality, view, place, width, height, hash_file(path)))
    columns = ["image_id", "patient_id", "modality", "view", "path", "width", "height", "sha256"]
    cohort = Cohort(
        root=root,
        name=name,
        classes=CLASSES,
        modalities=tuple(modalities),
        source="phantom" if simulated else "test",
        licence="none",
        patients=patients,
        images=pd.DataFrame(rows, columns=columns),
        folds=draw_folds(patients, k=k, seed=seed),
        pictures=root,
        simulated=simulated,
        details=details or CohortDetails(),
    )
    save_cohort(cohort)
    return cohort


def build_cohort(
    folder: Path,
    patients: int = 20,
    *,
    modalities: Sequence[str] = MODALITIES,
    k: int = 2,
    views: int = 1,
    absent: Mapping[int, set[str]] | None = None,
    name: str = "tiny",
    seed: int = 7,
) -> Cohort:
    """Write a cohort of noise in which a brighter third of the picture gives the class away, by modality."""
    rng = np.random.default_rng(seed)

    def draw(label: int, modality: str) -> np.ndarray:
        pixels = rng.integers(0, 90, (36, 40, 3), dtype=np.uint8)
        third = (label + MODALITIES.index(modality)) % 3
        pixels[:, third * 13 : third * 13 + 13] += 120
        return pixels

    numbers = np.arange(patients)
    table = pd.DataFrame(
        {
            "patient_id": [f"P{number:03d}" for number in numbers],
            "label": numbers % len(CLASSES),
            "site": np.where(numbers % 2, "A", "B"),
        }
    )
    return write_cohort(folder / name, table, draw, modalities=modalities, k=k, views=views, absent=absent, name=name)


def draw_few(patch: pytest.MonkeyPatch, draws: int = 100) -> None:
    """Draw few bootstrap samples for the intervals of pages: the tests of evaluation look at the intervals."""
    for place in ("comparison", "run.reading", "seeds.reading"):
        patch.setattr(f"fusion_ln.report.{place}.N_RESAMPLES", draws)


class Blank(float):
    """A figure, and all that is in one, on which nothing is drawn: Matplotlib's take most of the time of a page."""

    def __new__(cls, *_: object, **__: object) -> "Blank":
        return super().__new__(cls)

    def __getattr__(self, name: str) -> "Blank":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *_: object, **__: object) -> "Blank":
        return self

    __getitem__ = __call__

    def __iter__(self) -> Iterator["Blank"]:
        return iter(())

    intervalx = intervaly = (0.0, 1.0)

    def get_ylim(self) -> tuple[float, float]:
        return self.intervaly

    def subplots(self, rows: int = 1, columns: int = 1, *, squeeze: bool = True, **_: object) -> object:
        panels = np.array([[self] * columns] * rows, dtype=object)
        return panels if not squeeze else self if panels.size == 1 else panels.squeeze()

    subfigures = subplots


def write_explanation(run: RunFolder, curves: Mapping[str, Sequence[tuple[float, float]]], **changed: object) -> None:
    """Write the tested maps of a run's explanation: by method, heights of insertion and deletion of each patient."""
    methods = [name for name in curves if name != "random"]
    held = {
        "run": run.name, "settings": {}, "predictions": hash_file(run.predictions), "simulated": True,
        "classes": CLASSES, "sides": {"2d": 32}, "grids": {}, "trust": True, "randomized_shares": [1.0],
        "errors": False, "named": False,
        "methods": [{"name": name, "title": name.upper(), "description": name} for name in methods],
    }  # fmt: skip
    folder = run.explanation
    ExplanationRecord.model_validate({**held, **changed}).write(folder.record)
    names = [f"P{number}" for number in range(len(curves["random"]))]
    write_parquet(folder.patients, pd.DataFrame({"patient_id": names}))
    for method, heights in curves.items():
        for name, (insertion, deletion) in zip(names, heights, strict=True):
            arrays = {"insertion": np.full(21, insertion), "deletion": np.full(21, deletion)}
            write_arrays(folder.maps(method, name), arrays)


def leave_blank(patch: pytest.MonkeyPatch) -> None:
    """Leave the figures of pages blank: the tests of the report draw them."""
    for place in report.__path__:
        for module in walk_packages([place], "fusion_ln.report."):
            if "Figure" in vars(import_module(module.name)):
                patch.setattr(f"{module.name}.Figure", Blank)
    patch.setattr("fusion_ln.report.kit.style.svg_of", lambda figure, name: "<svg></svg>")
    patch.setattr("fusion_ln.report.kit.style.png_of", lambda figure, title: b"")


def shorten_pages(patch: pytest.MonkeyPatch) -> None:
    """Write reports of a few sections, without figures and with few bootstrap samples: for tests of other things."""
    leave_blank(patch)
    draw_few(patch)
    few = [ModuleInfo(None, f"fusion_ln.report.run.sections.{name}", False) for name in SECTIONS]
    patch.setattr("fusion_ln.report.run.page.walk_packages", lambda *_: few)


@contextmanager
def shortened() -> Iterator[None]:
    """Write short pages while the body runs, a fixture of many tests: see `shorten_pages`."""
    with pytest.MonkeyPatch.context() as patch:
        shorten_pages(patch)
        yield


def invoke(*arguments: object) -> tuple[int, str]:
    """Run `fusionln`; returns its exit code and what it printed. A traceback is a failure."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def fusionln(*arguments: object, code: int = 0) -> str:
    """Run `fusionln`, which must end with this code; returns what it printed."""
    found, output = invoke(*arguments)
    assert found == code, output
    return output


def options_with(*own: object) -> list[object]:
    """List `OPTIONS` and a test's own, which stand in place of those that they name."""
    pairs = zip(OPTIONS[::2], OPTIONS[1::2], strict=True)
    return [*(word for pair in pairs if pair[0] not in own for word in pair), *own]


def refused(*arguments: object) -> str:
    """Run `fusionln`, which must refuse; returns its message."""
    code, output = invoke(*arguments)
    assert code in (1, 2), output
    return output
