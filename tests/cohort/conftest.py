"""Raw archives in the layouts of the public data sets, with pictures of noise."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def draw(rng):
    """Write a picture of noise, the same never twice; grey unless ``colour``."""

    def write(path: Path, *, colour: bool = False) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (9, 10, 3 if colour else 1), dtype=np.uint8).repeat(1 if colour else 3, 2)
        Image.fromarray(coarse).resize((40, 36), Image.Resampling.BICUBIC).save(path)
        return path

    return write


@pytest.fixture
def cv4lymphnode(tmp_path, draw):
    """Four patients a class; all have two grey-scale pictures, patient 3 of a class no elastogram."""
    root = tmp_path / "raw"
    for label in "012":
        for patient in range(4):
            for image, modality in enumerate(("2d", "2d", "cdfi", "elastic")):
                if (patient, modality) != (3, "elastic"):
                    draw(root / modality / label / f"{patient}-{image}.jpg", colour=modality != "2d")
    return root


@pytest.fixture
def busi(tmp_path, draw):
    """Six pictures a class with masks; of each class, number 2 is a copy of number 1 with one dot more."""
    root = tmp_path / "raw" / "Dataset_BUSI_with_GT"
    for label in ("benign", "malignant", "normal"):
        for number in (1, 3, 4, 5, 10):
            draw(root / label / f"{label} ({number}).png")
        with Image.open(root / label / f"{label} (1).png") as image:
            copy = image.copy()
        copy.putpixel((5, 5), (255, 255, 255))
        copy.save(root / label / f"{label} (2).png")
        for mask in ("1)_mask", "1)_mask_1", "10)_mask"):
            draw(root / label / f"{label} ({mask}.png")
    return root
