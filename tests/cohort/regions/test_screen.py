import os
from pathlib import Path

import numpy as np
import pytest
import scipy
from PIL import Image, ImageDraw

from fusion_ln.cohort.regions.box import Box
from fusion_ln.cohort.regions.screen import find_panes, find_part, find_unframed, look_at, thick_parts

SHARED = Path(os.environ.get("FUSIONLN_SHARED", Path(__file__).parents[4] / "shared")) / "data"
THYROID = "thyroid_tinet/sample"
# By eye, on enlarged edges: left, top, right and bottom of the picture part.
LETTERBOXES = {
    "benign/1.jpg": (40, 19, 472, 512),
    "benign/2.jpg": (38, 19, 474, 512),
    "benign/3.jpg": (0, 79, 512, 431),
    "malignant/1.jpg": (0, 46, 512, 462),
}


@pytest.fixture
def screen(rng):
    """Draw a screen of 400 x 300: speckle in some boxes, on an even ground, with a banner, ticks and a colour bar."""

    def draw(*boxes, ground=26):
        pixels = np.full((300, 400, 3), ground, dtype=np.uint8)
        pixels[:24] = 90  # a banner
        for left, top, right, bottom in boxes:
            grain = rng.rayleigh(60, (bottom - top, right - left, 1)).clip(0, 255)
            pixels[top:bottom, left:right] = grain
        image = Image.fromarray(pixels)
        pen = ImageDraw.Draw(image)
        pen.text((8, 6), "MULLER, ANNA 1961-04-02", fill=(230, 230, 230))
        for y in range(40, 280, 30):
            pen.line([372, y, 380, y], fill=(200, 200, 200))
        for y in range(120):
            pen.line([4, 60 + y, 12, 60 + y], fill=(2 * y, 0, 255 - 2 * y))
        return np.array(image)

    return draw


def assert_near(box, corners, *, within=4):
    assert np.abs(np.subtract((box.x, box.y, box.right, box.bottom), corners)).max() <= within, (box, corners)


@pytest.mark.parametrize("ground", [0, 26])
def test_the_picture_part_of_a_screen_is_found_without_banner_bar_and_ticks(screen, ground):
    assert_near(find_part(look_at(screen((40, 40, 360, 280), ground=ground))), (40, 40, 360, 280))


def test_dark_tissue_is_part_of_the_picture_and_a_sector_whole(screen, rng):
    dark = screen((40, 40, 360, 280))
    dark[160:280, 40:360] = rng.integers(0, 4, (120, 320, 1))  # shadow: dark, not flat
    assert_near(find_part(look_at(dark)), (40, 40, 360, 280))
    sector = screen((40, 40, 360, 280))
    rows, columns = np.mgrid[40:280, 40:360]
    sector[40:280, 40:360][np.hypot(rows - 0, columns - 200) > 278] = 26
    sector[40:280, 40:360][np.abs(columns - 200) > 0.6 * rows] = 26
    assert_near(find_part(look_at(sector)), (57, 40, 343, 278), within=8)


def test_a_screen_without_a_frame_or_without_a_picture_stays_whole(screen, rng):
    speckle = rng.rayleigh(60, (300, 400, 1)).clip(0, 255).astype(np.uint8).repeat(3, 2)
    for pixels in (speckle, screen(), speckle[:16, :16]):
        assert find_part(look_at(pixels)) == Box(0, 0, *pixels.shape[1::-1])


@pytest.mark.parametrize("order", [1, -1])
def test_panes_are_grey_and_coloured_of_nearly_one_size(screen, order):
    left, right = (30, 40, 190, 280), (204, 40, 364, 280)
    pixels = screen(left, right)
    assert find_panes(pixels, look_at(pixels)) is None  # both are grey
    assert_near(find_part(look_at(pixels)), (30, 40, 364, 280))  # so neither is lost
    grey, coloured = (left, right)[::order]
    pixels[100:200, coloured[0] + 20 : coloured[2] - 20, 2] = 255
    found = find_panes(pixels, look_at(pixels))
    for box, corners in zip(found, (grey, coloured), strict=True):
        assert_near(box, corners)
    narrow = screen(left, (204, 40, 270, 280))
    narrow[100:200, 210:260, 2] = 255
    assert find_panes(narrow, look_at(narrow)) is None


def test_what_never_changes_between_screens_is_no_picture(screen, rng):
    frame = rng.integers(0, 256, (300, 400, 1), dtype=np.uint8).repeat(3, 2)  # as lively as tissue
    screens = []
    for _ in range(10):
        picture = frame.copy()
        picture[60:260, 100:300] = rng.rayleigh(60, (200, 200, 1)).clip(0, 255)
        screens.append(look_at(picture))
    assert find_part(screens[0]) == Box(0, 0, 400, 300)
    means = np.stack([cells.means for cells in screens])
    assert_near(find_unframed(means.min(axis=0), means.max(axis=0), (400, 300)), (100, 60, 300, 260))
    assert find_unframed(means[0], means[0], (400, 300)) is None


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
@pytest.mark.parametrize("name", LETTERBOXES)
def test_letterboxes_of_real_thyroids_are_cut_off(name):
    with Image.open(SHARED / THYROID / name) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert_near(find_part(look_at(pixels)), LETTERBOXES[name], within=8)  # a block of JPEG


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
def test_real_breasts_and_lungs_without_a_frame_stay_whole():
    """BUSI's pictures are cut already, with dark depth and logos in the corner; two end in a black ground."""
    files = [path for path in (SHARED / "busi").rglob("*.png") if "mask" not in path.name]
    files += (SHARED / "pocus").rglob("*.jpg")
    shares = {}
    for path in files[::3]:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        shares[path.name] = find_part(look_at(pixels)).area / (pixels.shape[0] * pixels.shape[1])
    assert {name for name, share in shares.items() if share < 0.97} <= {"normal (9).png", "normal (10).png"}


def test_cells_are_the_extremes_of_their_pixels_also_where_they_are_cut_off(rng):
    pixels = np.repeat(rng.integers(0, 256, (301, 507, 1), dtype=np.uint8), 3, axis=2)
    cells, grey = look_at(pixels), pixels[..., 0]
    side = cells.side
    assert cells.spread.shape == cells.means.shape == (-(-301 // side), -(-507 // side))
    for row, column in ((0, 0), (7, 11), (cells.spread.shape[0] - 1, cells.spread.shape[1] - 1)):
        cell = grey[row * side : (row + 1) * side, column * side : (column + 1) * side]
        assert cells.spread[row, column] == np.ptp(cell)


@pytest.mark.parametrize("shape", [(12, 90), (96, 132)])
def test_thick_parts_are_those_of_filters_that_look_at_every_window(rng, shape):
    lively = rng.random(shape) < np.kron(rng.random([length // 6 for length in shape]), np.ones((6, 6)))
    thick = max(3, round(0.06 * min(shape)) | 1)
    most = scipy.ndimage.uniform_filter(lively.astype(float), 3, mode="nearest") > 0.5
    thin = scipy.ndimage.minimum_filter(most.view(np.uint8), thick, mode="nearest")
    assert (thick_parts(lively) == scipy.ndimage.maximum_filter(thin, thick, mode="nearest")).all()
