import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.importing import import_cohort
from fusion_ln.cohort.regions.box import Box
from fusion_ln.cohort.regions.cropping import Cropping, SharedFrame, read_accepted, refuse_shared_boxes
from fusion_ln.cohort.regions.rule import CropRule, Found
from fusion_ln.cohort.source import open_source
from fusion_ln.errors import FusionLNError, PictureError, SourceError
from fusion_ln.images.bank import open_bank

AUTO = Cropping(CropRule("auto"))
HEADER = "patient_id,label,2d,elastic,box:2d,box:elastic\n"


@pytest.fixture
def duals(tmp_path, dual):
    """Twelve patients, whose dual screens are the pictures of two modalities."""
    lines = [HEADER]
    for number in range(12):
        dual(tmp_path / f"{number}.png")
        lines.append(f"{number},{number % 2},{number}.png,{number}.png,,\n")
    (tmp_path / "patients.csv").write_text("".join(lines))
    return tmp_path


def imported(folder, name, cropping):
    return import_cohort(open_source("table", folder / "patients.csv"), folder / name, k=2, cropping=cropping)


def boxes_of(cohort):
    return {
        image: Box(*corners)
        for image, *corners in cohort.images[["image_id", "crop_x", "crop_y", "crop_width", "crop_height"]].to_numpy()
    }


def test_a_file_of_two_panes_is_two_pictures_that_every_command_sees_cut(duals):
    cohort = load_cohort(imported(duals, "cut", AUTO).root)
    assert boxes_of(cohort)["3.png#2d"] == Box(5, 10, 90, 100)
    assert boxes_of(cohort)["3.png#elastic"] == Box(105, 10, 90, 100)
    assert set(cohort.images["crop_by"]) == {"pane"}
    pixels = np.asarray(Image.open(duals / "3.png"))
    np.testing.assert_array_equal(cohort.read_picture("3.png#elastic"), pixels[10:110, 105:195])
    assert open_bank(cohort, "elastic", 32).pixels[:, 0].max() == 255
    grey = open_bank(cohort, "2d", 32).pixels
    assert (grey[:, 0] == grey[:, 2]).all()  # no colour came over


def test_other_boxes_are_another_cohort_with_banks_of_its_own(duals):
    source = open_source("table", _single(duals))
    whole = import_cohort(source, duals / "whole", k=2)
    assert "crop_x" not in pd.read_parquet(whole.root / "images.parquet")
    cut = import_cohort(source, duals / "box", k=2, cropping=Cropping(CropRule.parse("5,10,90,100")))
    masked = import_cohort(
        open_source("table", _single(duals)), duals / "masked", k=2, cropping=Cropping(mask_text=True)
    )
    assert len({each.fingerprint for each in (whole, cut, masked)}) == 3
    assert len({tuple(each.contents_of("2d")) for each in (whole, cut, masked)}) == 3
    assert set(cut.images["crop_by"]) == {"box"}
    assert (open_bank(cut, "2d", 32).pixels != open_bank(whole, "2d", 32).pixels).any()


def _single(folder):
    table = pd.read_csv(folder / "patients.csv", dtype=str)[["patient_id", "label", "2d"]]
    table.to_csv(folder / "single.csv", index=False)
    return folder / "single.csv"


def test_given_boxes_go_before_the_rule_and_accepted_ones_before_both(duals):
    lines = (duals / "patients.csv").read_text().replace("4,0,4.png,4.png,,", '4,0,4.png,4.png,"6,11,80,90",')
    (duals / "patients.csv").write_text(lines)
    (duals / "crops.csv").write_text("path,modality,x,y,width,height,note\n5.png,elastic,110,20,70,80,mine\n")
    cohort = imported(duals, "cut", Cropping(CropRule("auto"), read_accepted(duals / "crops.csv")))
    rows = cohort.images.set_index("image_id")
    assert boxes_of(cohort)["4.png#2d"] == Box(6, 11, 80, 90)
    assert boxes_of(cohort)["5.png#elastic"] == Box(110, 20, 70, 80)
    assert rows.loc[["4.png#2d", "5.png#elastic", "6.png#2d"], "crop_by"].tolist() == ["table", "accepted", "pane"]
    assert load_cohort(cohort.root).details.accepted == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("path,modality,x,y,width\n1.png,2d,0,1,20\n", "crops.csv: no column 'height'"),
        ("path,modality,x,y,width,height\n1.png,2d,0,-1,20,20\n", "crops.csv, line 2: '-1' is no whole number"),
        ("path,modality,x,y,width,height\n" + 2 * "1.png,2d,0,1,20,20\n", "line 3: 1.png of 2d stands in it twice"),
        ("path,modality,x,y,width,height\n1.png,2d,0,0,2000,20\n", "1.png: box 0,0,2000,20 lies outside the picture"),
        ("path,modality,x,y,width,height\nzz.png,2d,0,0,20,20\n", "zz.png of 2d is no picture of SRC"),
        ("path,modality,x,y,width,height\n1.png,2d,100,10,90,90\n", "1.png: box .* of .* overlap; expected two panes"),
    ],
)
def test_corrections_that_fit_no_picture_are_refused(duals, text, problem):
    (duals / "crops.csv").write_text(text)
    with pytest.raises(FusionLNError, match=problem):
        imported(duals, "cut", Cropping(CropRule("auto"), read_accepted(duals / "crops.csv")))


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ('"1,2,3"', "line 2: column box:2d: '1,2,3' is no box; expected X,Y,WIDTH,HEIGHT"),
        ('"150,0,90,90"', "0.png: box 150,0,90,90 lies outside the picture, which is 200 x 120"),
    ],
)
def test_boxes_of_a_table_that_are_none_are_refused(duals, box, problem):
    text = (duals / "patients.csv").read_text().replace("0,0,0.png,0.png,,", f"0,0,0.png,0.png,{box},", 1)
    (duals / "patients.csv").write_text(text)
    with pytest.raises(FusionLNError, match=problem):
        imported(duals, "cut", AUTO)


def test_a_column_of_boxes_may_be_spelt_in_any_case(duals):
    text = (duals / "patients.csv").read_text().replace("box:2d", "BOX:2D")
    (duals / "patients.csv").write_text(text.replace("0,0,0.png,0.png,,", '0,0,0.png,0.png,"6,11,80,90",', 1))
    assert boxes_of(imported(duals, "cut", AUTO))["0.png#2d"] == Box(6, 11, 80, 90)


def test_burned_in_text_is_refused_where_the_whole_file_is_the_picture(scan, rng, tmp_path):
    pixels = rng.rayleigh(60, (120, 200, 1)).clip(0, 255).astype(np.uint8).repeat(3, 2)
    lines = ["patient_id,label,2d\n"]
    for number in range(4):
        scan(pixels, name=f"{number}.dcm", BurnedInAnnotation="YES" if number == 3 else "NO")
        lines.append(f"{number},{number % 2},{number}.dcm\n")
    (tmp_path / "patients.csv").write_text("".join(lines))
    (tmp_path / "crops.csv").write_text("path,modality,x,y,width,height\n0.dcm,2d,0,0,99,99\n")
    for name, cropping in (("auto", AUTO), ("accepted", Cropping(accepted=read_accepted(tmp_path / "crops.csv")))):
        with pytest.raises(PictureError, match=r"1 of 4 pictures hold burned-in text.*taken whole: 3\.dcm"):
            imported(tmp_path, name, cropping)
    (tmp_path / "crops.csv").write_text("path,modality,x,y,width,height\n3.dcm,2d,0,0,99,99\n")
    cohort = imported(tmp_path, "cut", Cropping(accepted=read_accepted(tmp_path / "crops.csv")))
    assert cohort.details.burned_in == 1


def test_a_file_of_two_modalities_is_refused_without_cutting(duals):
    with pytest.raises(SourceError, match=r"0.png: is both 2d and elastic") as caught:
        imported(duals, "whole", Cropping())
    assert "`--crop auto`" in caught.value.way_out
    with pytest.raises(SourceError, match="overlap"):
        imported(duals, "box", Cropping(CropRule.parse("5,10,90,100")))


def test_a_frame_is_what_ten_patients_share(rng):
    screens, whole = SharedFrame(), Found(Box(0, 0, 320, 240), "whole")
    for patient in range(10):
        cells = np.full((120, 160), 90, np.uint8)
        cells[20:100, 40:140] = rng.integers(0, 256, (80, 100))
        if patient < 9:
            screens.add(str(patient), Found(whole.box, "whole", cells=cells))
    assert screens.cut(whole, (320, 240)) == whole  # of nine
    assert screens.add("9", Found(whole.box, "whole", cells=cells)).cells is None
    found = screens.cut(whole, (320, 240))
    assert found.by == "frame"
    assert np.abs(np.subtract(found.box, (80, 40, 200, 160))).max() <= 6
    assert screens.cut(Found(whole.box, "pane"), (320, 240)).box == whole.box


def test_two_panes_may_touch_but_not_overlap():
    refuse_shared_boxes([("a", "2d", Box(0, 0, 50, 50)), ("a", "cdfi", Box(48, 0, 50, 50))])
    refuse_shared_boxes([("a", "2d", Box(0, 0, 50, 50)), ("b", "cdfi", Box(0, 0, 50, 50))])
