import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fusion_ln.cohort.phantom.marks import Screen, burn_in
from fusion_ln.cohort.phantom.modalities.bmode import Scanner
from fusion_ln.cohort.regions.text import mask_text

SHARED = Path(os.environ.get("FUSIONLN_SHARED", Path(__file__).parents[4] / "shared")) / "data"


@pytest.fixture
def tissue(rng):
    """Speckle that a beam has blurred."""
    grain = Image.fromarray(rng.rayleigh(40, (60, 40)).clip(0, 255).astype(np.uint8))
    return grain.resize((240, 180), Image.Resampling.BICUBIC).convert("RGB")


def test_texts_and_signs_within_a_picture_are_filled_and_no_tissue(tissue):
    plain = np.array(tissue)
    pen = ImageDraw.Draw(tissue)
    pen.text((20, 20), "MULLER", fill=(240, 240, 240))
    pen.rectangle([150, 100, 180, 130], fill=(0, 0, 0))
    pen.ellipse([158, 108, 172, 122], fill=(255, 255, 255))  # thicker than any stroke
    written = np.array(tissue)
    masked = mask_text(written)
    changed = (written != plain).any(axis=2) & (written.max(axis=2) > 200)
    assert changed.sum() > 200
    assert masked[changed].max() < 160
    untouched = (masked == written).all(axis=2)
    assert untouched.mean() > 0.9
    np.testing.assert_array_equal(mask_text(plain), plain)


@pytest.mark.parametrize("stamp", [0, 1, 2])
def test_the_phantoms_planted_mark_is_gone(tissue, stamp):
    """The same picture under each sign becomes nearly the same again, so that the sign tells nothing."""
    screen = Screen(128)
    pixels = tissue.resize((screen.side, screen.side))
    stamped, boxes = burn_in(pixels, screen, "2d", Scanner("A", 40.0, 0.0, 60.0, 0.5), stamp)
    left, top, right, bottom = (round(edge) for edge in boxes["stamp"])
    before = np.asarray(stamped)[top:bottom, left:right]
    after = mask_text(np.asarray(stamped))[top:bottom, left:right]
    assert before.max() == 255
    assert after.max() < 60


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
def test_a_real_text_is_filled_and_a_real_cyst_stays():
    folder = SHARED / "busi" / "Dataset_BUSI_with_GT"
    with Image.open(folder / "malignant" / "malignant (12).png") as image:
        written = np.asarray(image.convert("RGB"))
    text = (slice(360, 385), slice(118, 225))  # "RT AXILLA", by eye
    assert written[text].max() > 200
    assert mask_text(written)[text].max() < 140
    with Image.open(folder / "benign" / "benign (19).png") as image:
        cyst = np.asarray(image.convert("RGB"))
    assert (mask_text(cyst) != cyst).any(axis=2).mean() < 0.005
