"""Kinds of columns: numbers however they are written, gaps however they are spelt, and nothing turned in silence."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_ln.decode.columns import GAPS, NUMBER_GAPS, describe_columns, read_columns, reason_against_categories
from fusion_ln.decode.table import read_table
from fusion_ln.errors import SourceError


def read(**columns):
    cells = pd.DataFrame(columns, dtype=object)
    cells.index = pd.Index(range(2, len(cells) + 2), name="line")
    values, described = read_columns(cells, Path("nowhere"))
    return values, {column.name: column for column in described}


DECIMALS = st.decimals(min_value=-9999, max_value=9999, places=1).map(str)


@given(st.lists(st.one_of(DECIMALS, st.sampled_from(sorted(NUMBER_GAPS))), min_size=1, max_size=8), st.booleans())
@settings(max_examples=40, deadline=None)
def test_numbers_survive_any_spelling_of_a_gap_and_either_decimal_sign(written, comma):
    cells = [cell.replace(".", ",") if comma and cell not in NUMBER_GAPS else cell for cell in written]
    values, described = read(x=[cell.upper() for cell in cells], anchor=["0,5" if comma else "0.5"] * len(cells))
    expected = [np.nan if cell in NUMBER_GAPS else float(cell) for cell in written]
    np.testing.assert_array_equal(values["x"].to_numpy(dtype=float), expected)
    assert sum(described["x"].gaps.values()) == np.isnan(expected).sum()


def test_whole_numbers_stay_whole():
    values, _ = read(age=["41", "42"], size=["1e2", "−3"])
    assert values["age"].dtype == np.int64
    assert values["size"].tolist() == [100, -3]


def test_gaps_of_text_are_fewer_and_a_doubtful_one_is_named():
    values, described = read(calcification=["none", "NA", "macro", "?"])
    assert values["calcification"].isna().tolist() == [False, True, False, False]
    assert described["calcification"].gaps == {"NA": 1}
    assert described["calcification"].odd == ("'none' (line 2)", "'?' (line 5)")
    assert GAPS < NUMBER_GAPS


@pytest.mark.parametrize("odd", ["about 40", "<18", "50 y", "007", "12345678901234567890", "inf", "1e999", "4O"])
def test_one_odd_cell_is_named_and_makes_its_column_text(odd):
    numbers = [str(20 + n) for n in range(9)]
    values, described = read(age=[*numbers, odd])
    column = described["age"]
    assert (column.kind, column.nearly_numeric, column.odd) == ("text", True, (f"{odd!r} (line 11)",))
    assert values["age"].tolist() == [*numbers, odd]
    assert repr(odd) in column.warning
    assert repr(odd) in reason_against_categories(values["age"])
    assert f"{odd!r} (line 11)" in describe_columns([column])


@pytest.mark.parametrize("levels", [["1", "2", "2a", "3"], ["20-29", "30-39"], ["f", "m"], ["01", "02"], ["T1", "T2"]])
def test_codes_and_scores_are_categories(levels):
    values, described = read(stage=levels * 5)
    assert not described["stage"].nearly_numeric
    assert reason_against_categories(values["stage"]) == ""


def test_ids_dates_and_paths_stay_text_and_are_no_categories():
    ids = [f"{n:03d}" for n in range(8)]
    days = [f"2024-01-{n + 10}" for n in range(8)]
    born = [f"1956{n + 1:02d}03" for n in range(8)]
    values, described = read(record=ids, day=days, born=born, ceus=[f"img\\{n}.png" for n in range(7)] + ["NA"])
    assert values["record"].tolist() == ids
    assert [column.kind for column in described.values()] == ["text", "dates", "dates", "pictures"]
    assert values["ceus"].isna().sum() == 1
    assert reason_against_categories(values["day"]) == reason_against_categories(values["born"]) == "dates"
    assert reason_against_categories(values["ceus"]) == "paths of pictures"


def test_a_comma_is_a_decimal_one_only_where_the_table_has_such():
    doubtful = [f"{n},234" for n in range(1, 9)]
    values, described = read(x=doubtful)
    assert described["x"].nearly_numeric
    assert values["x"].tolist() == doubtful
    values, described = read(x=doubtful, sure=["0,5"] * 8)
    assert described["x"].kind == "number, decimal comma"
    assert values["x"].tolist() == [n + 0.234 for n in range(1, 9)]
    _, described = read(x=[cell.replace(",", ".") for cell in doubtful], sure=["0,5"] * 8)
    assert described["x"].nearly_numeric  # 1.234 is 1234 to who writes 0,5


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["1.100,5", "900", "2,25"], [1100.5, 900, 2.25]),
        (["1,100.5", "-1,234,567", "7"], [1100.5, -1234567, 7]),
        (["1'100", "2’500.5", "40"], None),  # two signs
        (["1'100", "2'500.5", "40"], [1100, 2500.5, 40]),
        (["1,5E+03", "2,25", "4e-1"], [1500, 2.25, 0.4]),
        (["1 100", "2 500,5", "40"], [1100, 2500.5, 40]),
        (["１２．５", "３", "−４"], [12.5, 3, -4]),
        (["1.100,5", "1,100.5"], None),
        (["1'100", "2,345"], None),
        (["1.100,5", "1.5"], None),
        (["0.5-1", "2", "3"], None),
        (["1.100,5", "1,100.5", "1'100", "0.5-1"], None),
        (["1'100", "1'200"], [1100, 1200]),
        (["1'100", "12-14", "1.5 – 2 mm"], None),
    ],
)
def test_grouped_thousands_are_read_in_one_way_or_named(written, expected):
    values, described = read(x=written)
    if expected:
        assert values["x"].tolist() == expected
        assert described["x"].kind.startswith("number")
    else:
        assert described["x"].nearly_numeric
        assert "nearly numeric" in described["x"].warning
        assert "nearly numeric" in reason_against_categories(values["x"])


def test_one_number_with_both_signs_tells_the_decimal_one_of_its_table():
    _, described = read(x=["1.100,5"] * 8, y=[f"{n}.234" for n in range(1, 9)], z=[f"{n},234" for n in range(1, 9)])
    assert described["y"].nearly_numeric
    assert described["z"].kind == "number, decimal comma"


def test_bands_of_a_category_are_no_numbers():
    bands = [f"{n}0-{n}9" for n in range(1, 9)]
    _, described = read(age=["<10", *bands, *bands], part=["0-0.5", "0.5-1"] * 8 + ["1-2"])
    assert not any(column.nearly_numeric for column in described.values())


def test_a_decimal_comma_among_separating_ones_is_warned_of():
    cells = pd.DataFrame({"levels": ["NA", "2,3", "4"], "size": ["1", "2", "−3"]}, dtype=object)
    for separator in ",;":
        values, [levels, size] = read_columns(cells, Path(), separator=separator)
        assert values["levels"].tolist()[1:] == [2.3, 4]
        assert ("'2,3' read as 2.3" in levels.warning) == (separator == ",")
        assert not size.warning
    cells["levels"] = ["−2,3", "3", "4"]
    assert "'−2,3' read as −2.3" in read_columns(cells, Path(), separator=",")[1][0].warning
    cells["levels"] = ["NA", "2;3", "4"]  # as the warning says
    assert read_columns(cells, Path(), separator=",")[1][0].kind == "text"


def test_names_stay_text_whatever_they_look_like():
    cells = pd.DataFrame({"patient_id": ["1", "2"], "age": ["1", "2"]}, dtype=object)
    values, _ = read_columns(cells, Path(), texts=["patient_id"])
    assert values["patient_id"].tolist() == ["1", "2"]
    assert values["age"].tolist() == [1, 2]


def test_levels_that_differ_only_in_spelling_are_named():
    _, described = read(sex=["F", "f", "m"])
    assert "'F' and 'f' differ only in spelling" in describe_columns(list(described.values()))


CELLS = st.one_of(
    st.sampled_from(["1", "2.5", "1,5", "1,234", "NA", "-", "a.png", "2024-01-02", "<5", "007"]), st.text()
)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6), st.sampled_from(["utf-8", "gb18030", "utf-16"]))
@settings(max_examples=60, deadline=None)
def test_any_cells_are_read_or_refused_with_one_message(tmp_path_factory, rows, encoding):
    path = tmp_path_factory.mktemp("table") / "a.csv"
    lines = ["x,y", *(",".join(row) for row in rows)]
    path.write_bytes("\n".join(lines).encode(encoding, errors="replace"))
    with suppress(SourceError):
        values, described = read_columns(read_table(path, "").cells, path.parent)
        assert describe_columns(described)
        assert [column.name for column in described] == values.columns.tolist()
        for name in values.columns[values.notna().any()]:
            if values[name].dtype == object:
                reason_against_categories(values[name])
            else:
                assert np.isfinite(values[name].dropna()).all()
