import pytest

from fusion_ln.clinical.columns import columns_title, is_finding


@pytest.mark.parametrize(
    "column",
    [
        "hilum",
        "short_axis_mm",
        "Margin",
        "elastography_score",
        "axis_ratio",
        "BI-RADS",
        "echogenicity",
        "短径",
        "2d_grade",
    ],
)
def test_what_a_reader_took_from_the_pictures_is_a_finding(column):
    assert is_finding(column, ("2d", "cdfi", "elastic"))


@pytest.mark.parametrize("column", ["age", "sex", "smoking", "ldh", "crp_mg_l", "fever", "年龄", "flank_pain"])
def test_what_is_known_without_pictures_is_clinical(column):
    assert not is_finding(column, ("2d", "cdfi", "elastic"))


def test_a_title_never_calls_findings_clinical():
    assert (
        columns_title(["age", "short_axis_mm", "sex"])
        == "Clinical columns and reader's findings (age, sex; short axis mm)"
    )
    assert columns_title(["hilum"]) == "Reader's findings (hilum)"
    assert columns_title(["a", "b", "c", "d", "e", "f"]) == "Clinical columns (a, b, c, d and 2 more)"
