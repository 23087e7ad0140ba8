import numpy as np
import pytest

from fusion_ln.cohort.regions.alike import cut_alike
from fusion_ln.cohort.regions.text import mask_text
from fusion_ln.errors import PictureError
from fusion_ln.records.parts import Preparation


@pytest.fixture
def panes(dual, tmp_path):
    return tmp_path / "a.png", dual(tmp_path / "a.png")


def test_a_new_picture_is_cut_and_masked_as_those_of_the_study(panes):
    path, pixels = panes
    assert cut_alike(None, path, pixels, "2d") is pixels
    pane = pixels[10:110, 105:195]
    np.testing.assert_array_equal(cut_alike(Preparation(crop="auto"), path, pixels, "elastic"), pane)
    masked = cut_alike(Preparation(crop="auto", mask_text=True), path, pixels, "2d")
    np.testing.assert_array_equal(masked, mask_text(np.ascontiguousarray(pixels[10:110, 5:95])))
    given = Preparation(crop="given", accepted=3)  # the model's warning says so
    np.testing.assert_array_equal(cut_alike(given, path, pixels, "2d"), pixels)


def test_panes_that_touch_are_parted_as_the_studys_were_or_refused(tmp_path, place_panes):
    path = tmp_path / "a.png"
    pixels = place_panes(path, 0)
    duals = Preparation(crop="auto", boxes={"pane": 40})
    np.testing.assert_array_equal(cut_alike(duals, path, pixels, "elastic"), pixels[10:110, 95:185])
    mixed = Preparation(crop="auto", boxes={"pane": 40, "screen": 20})
    with pytest.raises(PictureError, match="two panes that touch"):
        cut_alike(mixed, path, pixels, "elastic")
    alone = Preparation(crop="auto", boxes={"screen": 60})
    assert cut_alike(alone, path, pixels, "elastic").shape[:2] == (100, 180)


def test_what_was_cut_by_hand_is_taken_as_it_is(panes):
    path, pixels = panes
    for crop in ("dicom", "0,0,200,120", "9,9,200,120"):
        np.testing.assert_array_equal(cut_alike(Preparation(crop=crop), path, pixels, "2d"), pixels)


def test_a_picture_that_the_studys_rule_cannot_cut_is_refused(panes, scan):
    path, pixels = panes
    with pytest.raises(PictureError, match="box 150,0,90,90 lies outside the picture") as caught:
        cut_alike(Preparation(crop="150,0,90,90"), path, pixels, "2d")
    assert "save it as PNG" in caught.value.way_out
    with pytest.raises(PictureError, match="names no region"):
        cut_alike(Preparation(crop="dicom"), scan(pixels), pixels, "2d")


def test_boxes_that_no_picture_tells_by_itself_are_counted():
    assert Preparation(crop="auto", boxes={"screen": 5, "pane": 2}).untold == 0
    assert Preparation(crop="auto", boxes={"screen": 5, "frame": 4, "accepted": 2, "table": 1}).untold == 7


def test_a_preparation_is_told_in_a_clause():
    assert str(Preparation(crop="auto", mask_text=True)) == (
        "cut out of their screens (`--crop auto`) and their texts filled (`--mask-text`)"
    )
    assert str(Preparation(crop="given")) == "cut out of their screens (boxes given by hand)"
