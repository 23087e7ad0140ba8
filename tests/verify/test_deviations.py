from pathlib import Path

import pandas as pd
import pytest

from fusion_ln.errors import VerifyError
from fusion_ln.verify.deviations import compare_csv, compare_frames, compare_page, compare_values, same

TABLE = "model,class,auc\na,benign,0.9123456789\nb,benign,\n"


@pytest.mark.parametrize(
    ("found", "expected", "agree"),
    [
        (0.1 + 0.2, 0.3, True),
        ("0.30000000000000004", "0.3", True),
        (1e-17, 0.0, True),
        (float("nan"), float("nan"), True),
        (0.912345678901, 0.912345678902, False),
        ("0.0912345678901", "0.0912345678902", False),
        ("0.3", "0.4", False),
        (True, 1.5, False),
        ("a", "b", False),
    ],
)
def test_figures_agree_to_all_but_the_last_digits(found, expected, agree):
    assert same(found, expected) == agree


@pytest.mark.parametrize(
    ("found", "place"),
    [
        (
            TABLE.replace("0.9123", "0.9124"),
            "line 2 (a, benign, 0.9123456789), column auc: found 0.9124456789",
        ),
        (TABLE.replace("benign,\n", "benign,0.5\n"), "line 3 (b, benign, ), column auc: found 0.5; expected nothing"),
        (TABLE.replace("auc", "f1"), "columns: found model, class, f1; expected model, class, auc"),
        (TABLE + "c,benign,1\n", "rows: found 3; expected 2"),
    ],
)
def test_first_deviating_cell_of_a_table_is_named(found, place):
    with pytest.raises(VerifyError) as error:
        compare_csv(Path("t.csv"), found, TABLE)
    assert f"t.csv: {place}" in str(error.value)
    compare_csv(Path("t.csv"), TABLE, TABLE)


@pytest.mark.parametrize(("rows", "times"), [([0, 1, 1], "fold 1 in 2 rows"), ([0], "fold 1 in 0 rows")])
def test_rows_that_are_missing_or_stand_twice_are_named(rows, times):
    table = pd.DataFrame({"fold": [0, 1], "auc": [0.5, 0.6]})
    compare_frames(Path("h.parquet"), table[::-1], table, ["fold"])
    with pytest.raises(VerifyError, match=f"h.parquet: rows: found {times}; expected fold 1 in 1 rows"):
        compare_frames(Path("h.parquet"), table.iloc[rows], table, ["fold"])


def test_first_deviating_key_of_a_record_is_named():
    held = {"pooled": {"auc": 0.9}, "folds": [{"fold": 0}, {"fold": 1}]}
    compare_values(Path("m.json"), held, held)
    with pytest.raises(VerifyError, match=r"folds\[1\].fold: found 2; expected 1"):
        compare_values(Path("m.json"), held | {"folds": [{"fold": 0}, {"fold": 2}]}, held)
    with pytest.raises(VerifyError, match="more: found 1; expected nothing"):
        compare_values(Path("m.json"), held | {"more": 1}, held)


def test_text_of_a_page_counts_and_its_drawings_and_links_do_not():
    expected = "<p>AUC 0.912</p>\n<svg></svg>\n<p>end</p>"
    compare_page(Path("r.html"), '<p>AUC 0.912</p>\n<svg x="1">\n 3 \n</svg>\n<a href="x">y</a>\n<p>end</p>', expected)
    with pytest.raises(VerifyError, match=r"line 1: found '<p>AUC 0.913</p>'; expected '<p>AUC 0.912</p>'"):
        compare_page(Path("r.html"), expected.replace("0.912", "0.913"), expected)
    lead = '<p>AUC 0.912, see <a href="seeds.html">the seeds</a></p>'
    compare_page(Path("r.html"), lead.replace("the seeds", "all seeds"), lead)
    with pytest.raises(VerifyError, match=r"AUC 0\.913"):
        compare_page(Path("r.html"), lead.replace("0.912", "0.913"), lead)
