"""Public sets go from their unpacked archive to a checked cohort, by the commands that README names."""

import numpy as np
import pytest
from PIL import Image
from tiny import fusionln

from fusion_ln.cohort.folder import load_cohort

ARCHIVES = {
    "us3m": [
        f"US3M/{label}/{case:03d}/{name}_{view}.jpg"
        for label in ("benign", "malignant") for case in range(6)
        for name, views in (("BUS", 2), ("DUS", 1), ("EUS", 1)) for view in range(1, views + 1)
    ],
    "lymphus": [
        f"LymphUs/Center {centre}/{label}/{case} {label} {part}"
        for centre in (1, 2) for label in ("Benign", "Malignant") for case in range(1, 4)
        for part in ("Image.bmp", "Mask.tif", "Lesion.bmp")
    ],
    "cv4lymphnode": [
        f"CV4LymphNode/{modality}/{label}/{patient}-{image}.jpg"
        for label in range(3) for patient in range(6)
        for image, modality in enumerate(("2d", "cdfi", "elastic"), 1)
    ],
}  # fmt: skip


def unpacked(folder, source):
    """Pictures of noise at the places of an archive."""
    rng = np.random.default_rng(0)
    for place in ARCHIVES[source]:
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = any(word in place for word in ("DUS", "EUS", "cdfi", "elastic"))
        pixels = rng.integers(0, 256, (9, 10, 3 if colour else 1), dtype=np.uint8).repeat(1 if colour else 3, 2)
        image = Image.fromarray(pixels).resize((40, 36), Image.Resampling.BICUBIC)
        (image if colour else image.convert("L")).save(path)
    return folder


@pytest.mark.parametrize(
    ("source", "patients", "modalities"),
    [
        ("us3m", 12, ("2d", "cdfi", "elastic")),
        ("lymphus", 12, ("2d",)),
        ("cv4lymphnode", 18, ("2d", "cdfi", "elastic")),
    ],
)
def test_a_public_set_is_imported_and_passes_its_check(tmp_path, source, patients, modalities):
    out = tmp_path / "cohort"
    printed = fusionln("cohort", "import", source, unpacked(tmp_path / "raw", source), "--out", out)
    assert "patients (" in printed
    cohort = load_cohort(out)
    assert (len(cohort.patients), cohort.modalities, cohort.source) == (patients, modalities, source)
    assert cohort.licence
    fusionln("cohort", "check", out)
