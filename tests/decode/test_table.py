"""Tables of users: any usual encoding, separator and Excel give the same cells of text, or one message."""

import csv
import io
import random
import sys
import zipfile
from datetime import date, datetime

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_ln.decode.table import label_key, read_table, spelt_alike
from fusion_ln.errors import SourceError

ROWS = [["patient_id", "label", "age"], ["007", "benign", "41"], ["008", "lymphoma", ""]]
TEXT = "\n".join(",".join(row) for row in ROWS) + "\n"


@pytest.fixture
def read(tmp_path):
    """Read what was written as a table: bytes, or rows of a workbook."""

    def from_content(content, name="patients.csv"):
        (tmp_path / name).write_bytes(content)
        return read_table(tmp_path / name, "Expected: a table.")

    return from_content


def workbook(rows, formats=(), sheets=()):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for cell, number_format in formats:
        book.active[cell].number_format = number_format
    for name in sheets:
        book.create_sheet(name)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def grid(table):
    return [table.columns, *table.cells.to_numpy().tolist()]


@pytest.mark.parametrize(
    ("word", "encoding", "remark_part"),
    [
        ("良性", "utf-8", ""),
        ("良性", "utf-8-sig", ""),
        ("良性", "utf-16", "UTF-16"),
        ("良性", "gb18030", "GB18030 (Chinese)"),
        ("颈部淋巴结转移癌", "gb18030", "GB18030 (Chinese)"),
        ("bénin", "utf-8", ""),
        ("bénin", "cp1252", "Windows-1252"),
        ("größer ± 5 µm", "cp1252", "Windows-1252"),
        ("LOCALIZAÇÃO", "cp1252", "Windows-1252"),
    ],
)
def test_every_usual_encoding_is_read_and_one_that_was_guessed_is_said(read, word, encoding, remark_part):
    table = read(TEXT.replace("benign", word).encode(encoding))
    assert grid(table) == [[cell.replace("benign", word) for cell in row] for row in ROWS]
    assert [remark_part in remark for remark in table.remarks] == ([True] if remark_part else [])


def common_chinese():
    """Words of the 3,755 characters that GB2312 calls common."""
    rows = [bytes([lead, trail]) for lead in range(0xB0, 0xD7) for trail in range(0xA1, 0xFF)]
    return st.text(st.sampled_from([pair.decode("gb2312") for pair in rows]), min_size=1, max_size=8)


@given(st.lists(common_chinese(), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_chinese_words_survive_gb18030(tmp_path_factory, words):
    path = tmp_path_factory.mktemp("table") / "a.csv"
    path.write_bytes("\n".join(["patient_id,咽喉", *(f"1,{word}" for word in words)]).encode("gb18030"))
    assert read_table(path, "").cells["咽喉"].tolist() == words


CELL = st.text(alphabet=",;\t\"ab1 é'", max_size=5).map(str.strip)


@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=4), st.sampled_from(",;\t"))
@settings(max_examples=60, deadline=None)
def test_cells_survive_every_separator(tmp_path_factory, rows, separator):
    path = tmp_path_factory.mktemp("table") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL)
        lines.writerows([["patient_id", "age, years", "size; mm"], *rows, ["last", "", ""]])
    filled = [list(row) for row in rows if any(row)]
    table = read_table(path, "")
    assert table.cells.to_numpy().tolist() == [*filled, ["last", "", ""]]
    assert table.cells.index.tolist() == [n for n, row in enumerate(rows, start=2) if any(row)] + [len(rows) + 2]


def test_a_line_naming_the_separator_and_nameless_columns_are_read(read):
    assert grid(read(b"sep=;\na;b;;\n1;2;;\n")) == [["a", "b"], ["1", "2"]]
    table = read(b",b\n7,x\n")
    assert grid(table) == [["column 1", "b"], ["7", "x"]]
    assert "has no name and is called 'column 1'" in table.remarks[0]


def test_names_match_without_case_and_blanks_and_two_for_one_are_refused(read):
    table = read(b" Patient_ID ,LABEL,Age\n1,x,2\n").with_names(["patient_id", "label"])
    assert table.columns == ["patient_id", "label", "Age"]
    assert read(b"Patient ID,2-D\n1,x\n").with_names(["patient_id", "2d"]).columns == ["patient_id", "2-D"]
    with pytest.raises(SourceError, match="columns 'Label' and 'label' both stand for 'label'"):
        read(b"Label,label\n1,2\n").with_names(["label"])


def test_spellings_of_one_word_are_found():
    found = spelt_alike(["Benign", "benign", "ｂｅｎｉｇｎ", "lymph  node", "Lymph node", "malignant", "benign"])
    assert found == [["Benign", "benign", "ｂｅｎｉｇｎ"], ["lymph  node", "Lymph node"]]


def test_names_with_and_without_blanks_are_said(read):
    content = [["Patient ID", "x"], ["a", "f "], ["a ", "f"], ["b ", "1"], ["b\u00a0", "1"], [" c", "1"], ["c", "1"]]
    for text in (workbook(content), "\n".join(",".join(row) for row in content).encode()):
        table = read(text).with_names(["patient_id"])
        [remark] = table.remark_on_blanks("patient_id")
        assert "patient_id 'a', 'c': also with blanks around it" in remark
        assert table.cells["patient_id"].tolist() == ["a", "a", "b", "b", "c", "c"]
        assert not table.remark_on_blanks("site")
    assert read(b'x, y\n1, "2\n3"\n').cells["y"].tolist() == ["2\n3"]


def test_what_looks_the_same_is_one_spelling():
    alike = ["non-metastatic", "non\u2011metastatic", "non\u2013met\u0430static", "non-meta\u200bstatic"]
    assert spelt_alike([*alike, "nonmetastatic"]) == [alike]
    assert spelt_alike(["Hodgkin's", "Hodgkin\u2019s"]) == [["Hodgkin's", "Hodgkin\u2019s"]]
    assert not spelt_alike(["良性", "恶性", "доброкачественный", "злокачественный", "α", "β"])


def test_labels_that_are_equal_as_numbers_are_spellings_of_one():
    labels = ["1", "1.0", "01", "１", "10", "1.05", "-1", "0", "0.00", "1a", "A", "a"]
    assert spelt_alike(labels, label_key) == [["1", "1.0", "01", "１"], ["0", "0.00"], ["A", "a"]]
    assert spelt_alike(labels) == [["1", "１"], ["A", "a"]]


def test_the_separator_is_kept(read):
    assert [read(text).separator for text in (b"a;b\n1;2\n", b"a,b\n1,2\n", workbook(ROWS))] == [";", ",", ""]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"a,b\n\n , \n", "no line below its header"),
        (b"a,b\n1,2,3\n", "line 2: 3 cells, but the header has 2 columns"),
        (b"a,b\n\n1\n", "line 3: 1 cells, but the header has 2 columns"),
        (b'a,b\n1,"2\n3,4\n', "not a line of CSV"),
        (b"a,a\n1,2\n", "column 'a' stands in it twice"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not a text file"),
        (b"\xff\xfea", "not text"),
        (b"a,b\n\x81,\x8d\n", "not text"),
        ("a,b\n淋巴瘤,转移\n".encode()[:-2], "line 2: damaged UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old or encrypted"),
        (b"PK\x03\x04 and nothing more", "cannot be read as an Excel workbook"),
    ],
)
def test_what_is_no_table_is_refused_with_a_way_out(read, content, problem):
    with pytest.raises(SourceError) as caught:
        read(content)
    assert problem in caught.value.problem
    assert caught.value.way_out


def test_excel_gives_the_cells_of_the_csv_file(read):
    rows = [ROWS[0], [7, "benign", 41.0], [8, " lymphoma ", None], [None, None, None]]
    table = read(workbook(rows, formats=[("A2", "000"), ("A3", "000")]), "renamed.csv")
    assert grid(table) == ROWS
    assert table.cells.index.tolist() == [2, 3]


def test_excel_cells_read_as_the_sheet_shows_them(read):
    values = [date(2024, 2, 1), datetime(2024, 2, 1, 9, 30), True, 0.125, 1e-05, "10,5", "#N/A"]
    table = read(workbook([list("abcdefg"), values]))
    assert grid(table)[1] == ["2024-02-01", "2024-02-01 09:30:00", "TRUE", "0.125", "1e-05", "10,5", "#N/A"]


def test_the_first_filled_sheet_is_read_and_named(read):
    assert "sheet 'Sheet', the first of 2" in read(workbook(ROWS, sheets=["notes"])).remarks[0]


def test_a_formula_without_a_result_is_named(read):
    with pytest.raises(SourceError, match="formula in cell C2"):
        read(workbook([["patient_id", "label", "age"], ["1", "benign", "=40+1"]]))


def test_excel_without_openpyxl_names_the_package(read, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(SourceError) as caught:
        read(workbook(ROWS), "patients.xlsx")
    assert 'pip install "fusion_ln[excel]"' in caught.value.way_out


def test_a_workbook_that_unpacks_to_more_than_a_table_is_refused_unread(read, monkeypatch):
    monkeypatch.setattr("fusion_ln.decode.workbook.MOST_UNPACKED", 1000)
    with pytest.raises(SourceError, match="MB when unpacked"):
        read(workbook(ROWS))


def test_only_the_xml_of_a_workbook_counts_against_its_bound(read, monkeypatch):
    monkeypatch.setattr("fusion_ln.decode.workbook.MOST_UNPACKED", 20_000)
    content = io.BytesIO(workbook(ROWS))
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/image1.png", random.Random(0).randbytes(30_000))
    assert grid(read(content.getvalue())) == ROWS
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/image2.png", bytes(30_000))
    with pytest.raises(SourceError, match="MB when unpacked"):
        read(content.getvalue())


def test_merged_cells_are_refused_with_their_range_unless_they_are_empty(read):
    book = openpyxl.Workbook()
    for row in ROWS:
        book.active.append(row)
    book.active.merge_cells("E1:F2")
    content = io.BytesIO()
    book.save(content)
    assert grid(read(content.getvalue())) == ROWS
    book.active.merge_cells("B2:B3")
    content = io.BytesIO()
    book.save(content)
    with pytest.raises(SourceError, match="cells B2:B3 of sheet 'Sheet' are merged") as caught:
        read(content.getvalue())
    assert "Unmerge" in caught.value.way_out
