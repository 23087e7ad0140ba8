import io

import numpy as np
import pytest
from PIL import Image

from fusion_ln.report.explanation.figures import swarm
from fusion_ln.report.explanation.overlays import (
    CELL,
    CONTOUR,
    contour_level,
    data_uri,
    draw_panel,
    overlay_cell,
    picture_cell,
)

SIDE = 48


@pytest.fixture
def picture(rng):
    return rng.integers(0, 200, (3, SIDE, SIDE), dtype=np.uint8)


def contour(cell):
    return (cell == CONTOUR).all(-1)


def test_the_contour_encloses_the_highest_fifth(rng):
    heat = rng.random((SIDE, SIDE))
    assert (heat >= contour_level(heat, 1.0)).mean() == pytest.approx(0.2, abs=0.01)


def test_a_contour_encloses_no_noise_below_a_tenth_of_the_scale(picture):
    heat = np.zeros((SIDE, SIDE))
    heat[10:20, 10:20] = 0.05
    assert not contour(overlay_cell(picture, heat, 1.0)).any()
    heat[10:20, 10:20] = 0.5
    ring = contour(overlay_cell(picture, heat, 1.0))
    rows, columns = np.nonzero(ring)
    scale = CELL / SIDE
    assert 8 * scale < rows.min() < 12 * scale
    assert 18 * scale < columns.max() < 22 * scale


def test_a_blank_map_leaves_the_picture_grey(picture):
    cell = overlay_cell(picture, np.zeros((SIDE, SIDE)), 0.0)
    assert cell.shape == (CELL, CELL, 3)
    assert (cell == cell[..., :1]).all()


def test_the_picture_keeps_its_colours_and_shows_the_node(picture):
    node = np.zeros((SIDE, SIDE), dtype=bool)
    plain = picture_cell(picture, node)
    node[20:30, 20:30] = True
    outlined = picture_cell(picture, node)
    assert (plain != plain[..., :1]).any()
    changed = (plain != outlined).any(-1)
    assert 0 < changed.sum() < 200
    assert (outlined[changed] == 255).all()


def test_a_panel_holds_every_cell(picture):
    cell = picture_cell(picture)
    png = draw_panel("P1: benign", ["Picture", "Grad-CAM"], [("2D", [cell, cell]), ("CDFI", [cell, cell])], "simulated")
    panel = Image.open(io.BytesIO(png))
    assert panel.width > 2 * CELL
    assert panel.height > 2 * CELL
    assert data_uri(cell).startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize("text", ["name", "foot", "title"])
def test_a_panel_is_as_wide_as_its_longest_text(picture, text):
    texts = {"title": "P1", "foot": "", "name": "2D"} | {text: "Shear-wave elastography of the left groin " * 3}
    png = draw_panel(texts["title"], ["Picture"], [(texts["name"], [picture_cell(picture)])], texts["foot"])
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    ground = pixels[-1, -1]
    assert (pixels[:, [0, -1]] == ground).all()  # no letter is cut off


def test_dots_of_one_value_lie_beside_each_other(rng):
    values = np.repeat([0.0, 1.0], [9, 1])
    offsets = swarm(values)
    assert len(np.unique(offsets[:9])) == 9
    assert np.abs(offsets).max() <= 0.5
    assert offsets[9] == 0
