"""Tables for people and arrays, as they are written."""

import csv
import io
import math
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import example, given
from hypothesis import strategies as st

import fusion_ln
from fusion_ln.files.formats import csv_text, write_rows

RUN = ["=1+1", "+1;cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", " \r1=", "＝1"]
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


def test_every_csv_for_people_goes_through_the_one_writer():
    package = Path(fusion_ln.__file__).parent
    found = {path.name for path in package.rglob("*.py") if ".to_csv(" in path.read_text()}
    assert found == {"formats.py", "hashes.py"}  # a hash is no file


def test_rows_become_the_file_that_numpy_writes(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024), dtype=np.uint8)
    write_rows(tmp_path / "ours.npy", iter(noise), noise.shape, noise.dtype)
    np.save(tmp_path / "numpys.npy", noise)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()
