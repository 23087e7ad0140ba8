import pandas as pd
import pytest

from fusion_ln.cohort.checks.boxes import odd_boxes


@pytest.fixture
def images():
    """Eight screens of one size with nearly the same box."""
    rows = [(f"{n}", "2d", 400, 300, 40 + n, 30, 320, 240, "screen") for n in range(8)]
    columns = ["image_id", "modality", "width", "height", "crop_x", "crop_y", "crop_width", "crop_height", "crop_by"]
    return pd.DataFrame(rows, columns=columns)


def test_alike_boxes_are_not_odd(images):
    assert odd_boxes(images) == {}


def test_odd_boxes_come_with_the_likeliest_mistake_first(images):
    images.loc[2, ["crop_x", "crop_width"]] = 90, 270  # 12 % off
    images.loc[5, ["crop_y", "crop_height"]] = 130, 140  # 33 % off
    images.loc[6, ["crop_width", "crop_height"]] = 60, 60
    images.loc[7, "crop_by"] = "pane"
    found = odd_boxes(images)
    assert list(found) == ["6", "5", "2", "7"]
    assert found["6"] == "tiny: 3% of its screen"
    assert found["5"] == "unlike the others of its size: an edge is 33% off"
    assert "approve it" in found["7"]


def test_few_boxes_of_a_size_have_nothing_to_be_compared_with(images):
    few = images.iloc[:4].copy()
    few.loc[2, ["crop_x", "crop_width"]] = 190, 170
    assert odd_boxes(few) == {}


def test_boxes_of_a_rare_size_are_compared_with_all_of_their_modality(images):
    sides = ["width", "height", "crop_x", "crop_y", "crop_width", "crop_height"]
    images.loc[[1, 3], sides] = 2 * images.loc[[1, 3], sides]
    assert odd_boxes(images) == {}
    images.loc[3, ["crop_x", "crop_width"]] = 400, 322
    assert odd_boxes(images) == {"3": "unlike the others of its modality: an edge is 39% off"}
