"""A tiny cohort whose pictures tell the class, and a cache of its own for every test."""

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks this small lose time to a second thread

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fusion_ln.cohort.cohort import Cohort, save_cohort
from fusion_ln.cohort.folds import draw_folds
from fusion_ln.files import hash_file

CLASSES = ("benign", "lymphoma", "metastatic")
MODALITIES = ("2d", "cdfi", "elastic")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSIONLN_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def make_cohort(tmp_path: Path) -> Callable[..., Cohort]:
    """Draw a cohort of `patients` patients; `absent` maps a patient's number to the modalities it lacks."""

    def make(
        patients: int = 20,
        *,
        k: int = 2,
        views: int = 1,
        absent: dict[int, set[str]] | None = None,
        name: str = "tiny",
        seed: int = 7,
    ) -> Cohort:
        rng = np.random.default_rng(seed)
        root = tmp_path / name
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

    return make
