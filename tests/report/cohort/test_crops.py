import io
from base64 import b64decode
from re import findall

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import fusionln

from fusion_ln.cohort.folder import load_cohort


@pytest.fixture
def archive(tmp_path, rng):
    """Six patients on screens of 200 x 120 with a frame; the picture of the third lies elsewhere."""
    lines = ["patient_id,label,2d\n"]
    for number in range(6):
        pixels = np.zeros((120, 200, 3), dtype=np.uint8)
        left = 100 if number == 2 else 20
        pixels[10:110, left : left + 90] = rng.rayleigh(60, (100, 90, 1)).clip(0, 255)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number},{number % 2},{number}.png\n")
    (tmp_path / "patients.csv").write_text("".join(lines))
    return tmp_path


def test_the_sheet_shows_odd_boxes_first_and_takes_corrections(archive):
    """From import to the corrected import, as a user types it."""
    command = ("cohort", "import", "table", archive / "patients.csv", "--folds", "2", "--crop", "auto", "--out")
    fusionln(*command, archive / "a")
    told = fusionln("cohort", "check", archive / "a")
    assert f"import again with `--accept {archive / 'a' / 'crops.csv'}`" in told
    page, table = (archive / "a" / "crops.html").read_text(), pd.read_csv(archive / "a" / "crops.csv")
    assert table["path"].iloc[0] == "2.png"
    assert table["look_at_it"].notna().tolist() == [True] + [False] * 5
    assert page.index("2.png") < page.index("0.png")
    assert "unlike the others of its size" in page
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")  # offline
    screens = findall(r"data:image/jpeg;base64,([^\"]+)", page)
    with Image.open(io.BytesIO(b64decode(screens[0]))) as screen:
        assert screen.size == (190, 114)
        assert np.asarray(screen.convert("L"))[:, 95:180].mean() > 2 * np.asarray(screen.convert("L"))[:, :90].mean()
    assert findall(r"left:([\d.]+)%;top:([\d.]+)%;width:([\d.]+)%;height:([\d.]+)%", page)[0] == (
        ("50.00", "8.33", "45.00", "83.33")
    )
    table.loc[0, ["x", "width"]] = 105, 80
    table.to_csv(archive / "a" / "crops.csv", index=False)
    fusionln(*command, archive / "b", "--accept", archive / "a" / "crops.csv")
    corrected = load_cohort(archive / "b")
    assert corrected.read_picture("2.png").shape == (100, 80, 3)
    assert corrected.preparation.boxes == {"accepted": 1, "screen": 5}  # others keep how they were found
    assert corrected.details.accepted == 1
    before = load_cohort(archive / "a")
    for image in (f"{number}.png" for number in (0, 1, 3, 4, 5)):
        np.testing.assert_array_equal(corrected.read_picture(image), before.read_picture(image))
    assert corrected.fingerprint != load_cohort(archive / "a").fingerprint
