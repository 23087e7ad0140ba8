import numpy as np
import pytest
from PIL import Image

from fusion_ln.cohort.regions.box import Box, parse_box
from fusion_ln.cohort.regions.dicom import read_regions
from fusion_ln.cohort.regions.rule import CropRule, given
from fusion_ln.cohort.regions.screen import has_seam
from fusion_ln.errors import PictureError, SettingsError


@pytest.mark.parametrize("text", ["auto", "dicom", "none", "10,20,300,400"])
def test_a_rule_is_read_as_it_is_written(text):
    assert str(CropRule.parse(text)) == text


@pytest.mark.parametrize("text", ["", "dicoms", "1,2,3", "1,2,3,-4", "1,2,3,4.5", "1,2,3,4,5"])
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(SettingsError, match="neither `auto`, `dicom` or `none`, nor a box"):
        CropRule.parse(text)


def test_a_box_cuts_its_pixels_and_stays_within_the_picture(tmp_path):
    pixels = np.arange(40 * 50 * 3).reshape(40, 50, 3)
    np.testing.assert_array_equal(parse_box("5, 6,20,30").cut(pixels), pixels[6:36, 5:25])
    for text, problem in (
        ("40,0,20,20", "outside the picture, which is 50 x 40"),
        ("0,0,5,30", "smaller than 16"),
    ):
        with pytest.raises(PictureError, match=f"a.png: box {text} .*{problem}"):
            CropRule.parse(text).find(tmp_path / "a.png", pixels, "2d")


def test_a_files_region_is_the_picture_with_its_spacing(scan, rng):
    pixels = rng.integers(0, 256, (120, 200, 3), dtype=np.uint8)
    path = scan(pixels, (1, 20, 10, 179, 109), (2, 40, 30, 99, 79), (3, 0, 110, 199, 119), (14, 190, 0, 199, 50))
    [region] = read_regions(path)  # flow lies within tissue; spectrum and bar are no pictures
    assert region.box == Box(20, 10, 160, 100)
    assert region.mm_per_pixel == pytest.approx(0.125)
    found = CropRule("dicom").find(path, pixels, "cdfi")
    assert (found.box, found.by, found.mm_per_pixel) == (region.box, "dicom", region.mm_per_pixel)
    within, beside = (given(path, box, pixels, "accepted") for box in (Box(25, 15, 99, 80), Box(0, 0, 60, 60)))
    assert (within.box, within.mm_per_pixel, beside.mm_per_pixel) == (Box(25, 15, 99, 80), region.mm_per_pixel, None)
    [full] = read_regions(scan(pixels, (1, 0, 0, 200, 120)))  # scanners write the first line beyond it, too
    assert full.box == Box(0, 0, 200, 120)


def test_two_regions_of_a_file_are_its_grey_and_its_coloured_pane(scan, dual):
    pixels = dual()
    path = scan(pixels, (1, 5, 10, 94, 109), (1, 105, 10, 194, 109))
    boxes = [CropRule("auto").find(path, pixels, m, shared=True).box for m in ("2d", "elastic", "cdfi")]
    assert boxes == [Box(5, 10, 90, 100), Box(105, 10, 90, 100), Box(105, 10, 90, 100)]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (1, 0, 2)])
@pytest.mark.parametrize("right", [1, 2])  # tissue, or colour flow alone
def test_a_region_of_the_whole_screen_is_not_one_of_its_panes(scan, dual, order, right):
    regions = [(1, 0, 0, 199, 119), (1, 5, 10, 94, 109), (right, 105, 10, 194, 109)]
    boxes = [region.box for region in read_regions(scan(dual(), *(regions[at] for at in order)))]
    assert boxes == [Box(5, 10, 90, 100), Box(105, 10, 90, 100)]


@pytest.mark.parametrize(
    ("regions", "problem"),
    [
        ([(1, 20, 10, 300, 109)], "box 20,10,281,100 lies outside the picture, which is 200 x 120"),
        ([(1, 20, 10, 119, 109), (1, 100, 10, 190, 109)], "regions 20,10,100,100 and 100,10,91,100 overlap"),
        ([(1, 20, 10, 10, 109)], "the last corner 10,109 of a region lies before its first, 20,10"),
        ([(1, 20, 10, 25, 109)], "box 20,10,6,100 is smaller than 16"),
        ([(1, 0, 0, 49, 119), (1, 60, 0, 109, 119), (1, 120, 0, 169, 119)], "names 3 regions of tissue"),
        ([], "names no region of tissue or colour flow"),
    ],
)
def test_regions_that_are_no_picture_are_refused(scan, rng, regions, problem):
    pixels = rng.integers(0, 256, (120, 200, 1), dtype=np.uint8).repeat(3, 2)
    path = scan(pixels, *regions)
    with pytest.raises(PictureError, match=rf"a.dcm: .*{problem}") as caught:
        CropRule("dicom").find(path, pixels, "2d")
    assert "--accept FILE" in caught.value.way_out


def test_panes_go_to_the_modality_of_their_colour(tmp_path, dual):
    pixels = dual(tmp_path / "a.png")
    rule, path = CropRule("auto"), tmp_path / "a.png"
    grey, coloured = (rule.find(path, pixels, modality, shared=True) for modality in ("2d", "elastic"))
    assert (grey.box, coloured.box) == (Box(5, 10, 90, 100), Box(105, 10, 90, 100))
    assert grey.by == coloured.by == "pane"
    assert rule.find(path, pixels, "2d").box == grey.box  # also where the file stands for one modality alone
    with pytest.raises(PictureError, match=r"a\.png: shows a grey and a coloured pane.*which of them swe is"):
        rule.find(path, pixels, "swe")


def test_panes_above_each_other_are_told_apart_where_two_are_stated(tmp_path, dual):
    """Else the lower one may be a spectrum."""
    pixels = dual()
    stacked = np.concatenate([pixels[:, 100:], pixels[:, :100]])  # the coloured one above
    Image.fromarray(stacked).save(tmp_path / "a.png")
    rule, path = CropRule("auto"), tmp_path / "a.png"
    boxes = [rule.find(path, stacked, modality, shared=True).box for modality in ("2d", "elastic")]
    assert boxes == [Box(5, 130, 90, 100), Box(5, 10, 90, 100)]
    assert rule.find(path, stacked, "elastic").by == "screen"


@pytest.mark.parametrize("gap", [0, 1, 2])
@pytest.mark.parametrize("upright", [True, False])
def test_stated_panes_that_touch_are_told_apart_at_their_seam(tmp_path, place_panes, gap, upright):
    path = tmp_path / "a.png"
    screen = place_panes(path, gap) if upright else place_panes(path, gap).swapaxes(0, 1)
    boxes = [CropRule("auto").find(path, screen, name, shared=True).box for name in ("2d", "elastic")]
    expected = [Box(5, 10, 90, 100), Box(95 + gap, 10, 90, 100)]
    assert boxes == (expected if upright else [Box(y, x, height, width) for x, y, width, height in expected])


def test_panes_that_touch_are_odd_where_nothing_states_that_there_are_two(tmp_path, place_panes):
    rule, path = CropRule("auto"), tmp_path / "a.png"
    found = rule.find(path, touching := place_panes(path, 0), "elastic")
    assert (found.box, found.by) == (Box(5, 10, 180, 100), "screen")
    assert has_seam(found.box.cut(touching))
    found = rule.find(path, place_panes(path, 2), "elastic")
    assert (found.box, found.by) == (Box(97, 10, 90, 100), "pane")  # a gap shows from top to bottom


def test_the_edge_of_a_colour_box_is_no_seam(tmp_path, rng):
    pixels = rng.rayleigh(60, (200, 300, 1)).clip(0, 255).astype(np.uint8).repeat(3, 2)
    pixels[30:160, 150:290, 0] = 255
    pixels[30:160, 150] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert CropRule("auto").find(tmp_path / "a.png", pixels, "cdfi").by == "whole"


@pytest.mark.parametrize(
    ("right", "problem"), [("", "its right half is empty"), ("grey", "no grey and coloured pane of nearly one size")]
)
def test_a_file_of_two_modalities_without_two_panes_is_refused(tmp_path, dual, right, problem):
    pixels = dual(tmp_path / "a.png", right=right)
    with pytest.raises(PictureError, match=f"a.png: stands for two modalities, but {problem}"):
        CropRule("auto").find(tmp_path / "a.png", pixels, "elastic", shared=True)


def test_a_picture_that_fills_its_file_stays_whole(tmp_path, rng):
    pixels = rng.rayleigh(60, (120, 160, 1)).clip(0, 255).astype(np.uint8).repeat(3, 2)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = CropRule("auto").find(tmp_path / "a.png", pixels, "2d")
    assert (found.box, found.by) == (Box(0, 0, 160, 120), "whole")
