"""The tiny settings and cohort of all tests, and the one way to run a command."""

from pathlib import Path

import numpy as np
import pandas as pd
from click.testing import CliRunner
from PIL import Image

from fusion_ln.cli.main import cli
from fusion_ln.cohort.cohort import Cohort, save_cohort
from fusion_ln.cohort.folds import draw_folds
from fusion_ln.files import hash_file
from fusion_ln.settings import DeviceSettings, FitSettings, HeadSettings

CLASSES = ("benign", "lymphoma", "metastatic")
MODALITIES = ("2d", "cdfi", "elastic")

CPU = DeviceSettings(device="cpu", workers=1)
FIT = FitSettings(backbone="test_resnet", image_size=32, epochs=1, batch_size=4, head_width=8, precision="32-true")
FIT_TWICE = FIT.model_copy(update={"epochs": 2})
HEAD = HeadSettings(width=16, epochs=2, batch_size=8, copies=1, grid=1)
# The same for the command line.
ONE_CPU = ("--device", "cpu", "--workers", "1")
OPTIONS = ("--backbone", "test_resnet", "--image-size", "32", "--epochs", "1", "--batch-size", "4", *ONE_CPU)


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


def refused(*arguments: object) -> str:
    """Run `fusionln`, which must refuse; returns its message."""
    code, output = invoke(*arguments)
    assert code in (1, 2), output
    return output


def build_cohort(
    folder: Path,
    patients: int = 20,
    *,
    k: int = 2,
    views: int = 1,
    absent: dict[int, set[str]] | None = None,
    name: str = "tiny",
    seed: int = 7,
) -> Cohort:
    """Draw a cohort whose pictures tell the class; `absent` maps a patient's number to the modalities it lacks."""
    rng = np.random.default_rng(seed)
    root = folder / name
    (root / "images").mkdir(parents=True)
    table = pd.DataFrame(
        {
            "patient_id": [f"P{number:03d}" for number in range(patients)],
            "label": np.arange(patients) % len(CLASSES),
            "site": np.where(np.arange(patients) % 2, "A", "B"),
        }
    )
    rows = []
    for number, (patient, label) in enumerate(zip(table["patient_id"], table["label"], strict=True)):
        for modality in MODALITIES:
            if modality in (absent or {}).get(number, set()):
                continue
            for view in range(views):
                path = root / "images" / f"{patient}-{modality}-{view}.png"
                # A brighter third of the picture gives the class away, differently in every modality.
                pixels = rng.integers(0, 90, (36, 40, 3), dtype=np.uint8)
                third = (label + MODALITIES.index(modality)) % 3
                pixels[:, third * 13 : third * 13 + 13] += 120
                Image.fromarray(pixels).save(path)
                rows.append((path.stem, patient, modality, view, f"images/{path.name}", 40, 36, hash_file(path)))
    columns = ["image_id", "patient_id", "modality", "view", "path", "width", "height", "sha256"]
    cohort = Cohort(
        root=root,
        name=name,
        classes=CLASSES,
        modalities=MODALITIES,
        source="test",
        licence="none",
        patients=table,
        images=pd.DataFrame(rows, columns=columns),
        folds=draw_folds(table, k=k),
        pictures=root,
    )
    save_cohort(cohort)
    return cohort
