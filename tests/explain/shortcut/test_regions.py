import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from fusion_ln.cohort.phantom.simulate import simulate_cohort
from fusion_ln.cohort.phantom.truth import load_truth
from fusion_ln.cohort.regions.text import find_strokes
from fusion_ln.explain.shortcut.regions import (
    BURNED_IN,
    MIDDLE,
    NODE,
    PICTURE,
    find_regions,
    regions_by_rule,
)
from fusion_ln.images.bank import open_bank

SHARED = Path(os.environ.get("FUSIONLN_SHARED", Path(__file__).parents[4] / "shared"))


def tissue(rng, height, width):
    """Speckle that a beam has blurred sideways, with bright fibres along the rows."""
    grain = rng.rayleigh(40, (height, width + 8))
    blurred = np.stack([grain[:, i : i + width] for i in range(8)]).mean(axis=0)
    blurred[height // 3 :: 25] += 120
    return np.repeat(blurred.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def write(picture, place, text, fill=(230, 230, 230)):
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    pen.text(place, text, fill=fill, font=ImageFont.load_default(14))
    return np.asarray(image), [round(edge) for edge in pen.textbbox(place, text, font=ImageFont.load_default(14))]


@pytest.mark.parametrize("fill", [(230, 230, 230), (240, 220, 40)])
def test_the_rule_finds_a_text_on_tissue_and_nothing_else(rng, fill):
    plain = tissue(rng, 200, 240)
    written, (left, top, right, bottom) = write(plain, (30, 120), "RT AXILLA", fill)
    drawn = np.abs(written.astype(int) - plain).max(axis=2) > 100
    found = find_strokes(written)
    assert found[drawn].mean() > 0.6  # the rest are edges that blend into bright tissue
    found[top - 2 : bottom + 2, left - 2 : right + 2] = False
    assert found.mean() < 0.001
    assert not find_strokes(plain).any()


def test_the_rule_finds_a_calliper_cross(rng):
    picture = tissue(rng, 200, 240) // 2
    picture[100, 90:105] = picture[93:108, 97] = 255
    found = find_strokes(picture)
    assert found[93:108, 97].mean() > 0.8
    assert not found[:, :80].any()


def test_the_rule_separates_the_picture_from_its_frame(rng):
    screen = np.zeros((300, 400, 3), dtype=np.uint8)
    screen[50:250, 60:300] = tissue(rng, 200, 240)
    screen, _ = write(screen, (310, 60), "12cm")
    screen, _ = write(screen, (60, 10), "LEFT NECK")
    regions = regions_by_rule(screen)
    rows, columns = np.nonzero(regions & PICTURE)
    np.testing.assert_allclose([rows.min(), rows.max(), columns.min(), columns.max()], [50, 249, 60, 299], atol=2)
    rows, columns = np.nonzero(regions & NODE)
    assert (np.ptp(rows) + 1) / 200 == pytest.approx(MIDDLE, abs=0.03)
    assert (np.ptp(columns) + 1) / 240 == pytest.approx(MIDDLE, abs=0.03)
    assert (regions[10:26, 60:140] & BURNED_IN).any()
    assert (regions[60:76, 310:345] & BURNED_IN).any()


def test_an_even_picture_is_all_picture():
    assert (regions_by_rule(np.full((40, 60, 3), 128, dtype=np.uint8)) & PICTURE).all()


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return simulate_cohort(tmp_path_factory.mktemp("regions") / "p", n_patients=30, image_size=96, shortcut=0.9)


def test_node_regions_of_a_phantom_cover_the_node_and_have_one_size(phantom):
    regions = find_regions(phantom, "2d", 96)[:, 0]
    truth = load_truth(phantom).pictures.set_index("image_id")
    sizes = []
    for image, found in zip(phantom.images_of("2d")["image_id"], regions, strict=True):
        outline = Image.new("1", (96, 96))
        points = zip(truth.loc[image, "outline_x"], truth.loc[image, "outline_y"], strict=True)
        ImageDraw.Draw(outline).polygon([(x - 0.5, y - 0.5) for x, y in points], fill=1)
        free = (found & BURNED_IN == 0) & (found & PICTURE > 0)
        assert (found[np.asarray(outline) & free] & NODE).all()
        rows, columns = np.nonzero(found & NODE)
        touches = columns.min() <= 9 or columns.max() >= 86
        sizes += [] if touches else [(np.ptp(rows), np.ptp(columns))]
    assert np.ptp(sizes, axis=0).max() <= 1  # a rounding apart


def test_a_phantoms_stamp_is_burned_in_and_not_part_of_the_node(phantom):
    [bank, regions] = [open_bank(phantom, "cdfi", 96).pixels, find_regions(phantom, "cdfi", 96)[:, 0]]
    for picture, found in zip(bank, regions, strict=True):
        stamp = np.zeros((96, 96), dtype=bool)
        stamp[76:87, 11:22] = picture[:, 76:87, 11:22].min(axis=0) > 250  # its white sign, lower left
        assert stamp.any()
        assert (found[stamp] & BURNED_IN).all()
        assert not (found[stamp] & NODE).any()


def test_regions_lie_where_a_larger_bank_has_them(phantom):
    small, large = find_regions(phantom, "2d", 48), find_regions(phantom, "2d", 96)
    agree = (small[:, 0] & PICTURE) == (large[:, 0, ::2, ::2] & PICTURE)
    assert agree.mean() > 0.97


@pytest.mark.real_data
@pytest.mark.skipif(not (SHARED / "data" / "busi_256").is_dir(), reason="FUSIONLN_SHARED is not there")
@pytest.mark.parametrize(
    ("name", "box"), [("benign/benign (306)", (25, 30, 100, 50)), ("malignant/malignant (202)", None)]
)
def test_texts_of_real_pictures_are_found(name, box):
    [path] = (SHARED / "data" / "busi_256").rglob(f"{name}.png")
    found = find_strokes(np.asarray(Image.open(path).convert("RGB")))
    assert found.mean() < 0.004
    if box:
        left, top, right, bottom = box
        assert found[top:bottom, left:right].mean() > 0.05
