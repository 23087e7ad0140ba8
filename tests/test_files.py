"""Names of files, quoted one to one, and CSV files that no spreadsheet runs."""

import csv
import io
import math
from contextlib import suppress

import pandas as pd
from hypothesis import example, given
from hypothesis import strategies as st

from fusion_ln.files import as_file_name, csv_text

CLOSE = st.text(alphabet="ab/_ .:~-+%é2F\x00\udce9", max_size=6)  # texts that a lossy rule maps onto each other


@given(st.lists(st.one_of(CLOSE, st.text(max_size=300)), unique=True, min_size=2, max_size=40))
@example(["a/b", "a_b", "a b", "a~2Fb", "a%2Fb", "a:b"])
@example(["", "~", ".", "..", "~2E"])
@example(["x" * 181, "x" * 182, as_file_name("x" * 181)])
@example(["é" * 200, "é" * 201])
def test_no_two_texts_share_a_file_name(texts):
    assert len({as_file_name(text) for text in texts}) == len(texts)


@given(st.one_of(CLOSE, st.text(max_size=300)))
def test_a_file_name_is_one_that_every_file_system_takes(text):
    name = as_file_name(text)
    assert 0 < len(name.encode()) <= 180
    assert not set(name) & set("/\\\0 %?#:")
    assert not name.startswith(".")


def test_harmless_names_stay_as_they_are():
    for name in ("benign", "roc-lymphoma", "P0001", "2d+cdfi", "图像_1.5", "seed-0"):
        assert as_file_name(name) == name


def test_what_is_quoted_can_be_read():
    assert as_file_name("EF below 40") == "EF~20below~2040"
    assert as_file_name("1/171") == "1~2F171"


RUN = ["=1+1", "+1;cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"]
HARMLESS = ["=", "-1.5", "+3", "-1e-3", "-", "benign", "2d+cdfi", "", "a\r=1"]


@given(
    st.lists(st.one_of(st.sampled_from(RUN + HARMLESS), st.text("=+-@\t\r 1a,", max_size=4)), min_size=1, max_size=6)
)
@example(RUN + HARMLESS)
def test_no_cell_of_a_csv_for_people_begins_a_formula_and_the_others_stay(cells):
    table = pd.DataFrame({"=name": pd.Series(cells, dtype=object), "auc": [-0.5] * len(cells)})
    header, *rows = csv.reader(io.StringIO(csv_text(table), newline=""))
    assert header == ["'=name", "auc"]
    assert [row[1] for row in rows] == ["-0.5"] * len(cells)
    for cell, (written, _) in zip(cells, rows, strict=True):
        assert written in (plain := cell.replace("\r", "\n"), f"'{plain}")
        assert (written != plain) == (cell in RUN) or cell not in RUN + HARMLESS
        if len(written.strip()) > 1 and not is_number(written):
            assert written.lstrip(" ")[:1] not in tuple("=+-@＝\t\n")


def is_number(text):
    with suppress(ValueError):
        return math.isfinite(float(text.replace(",", ".")))
    return False


def test_categories_and_repeated_names_are_written_too():
    table = pd.DataFrame([["=1", 2]], columns=["a", "b"]).astype({"a": "category"})
    assert csv_text(table) == "a,b\n'=1,2\n"
