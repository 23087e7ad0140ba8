from pathlib import Path

import pytest

from fusion_ln.cohort.importing import import_cohort
from fusion_ln.cohort.sources.busi import BUSI
from fusion_ln.cohort.sources.cv4lymphnode import CV4LymphNode
from fusion_ln.cohort.sources.lymphus import LymphUs
from fusion_ln.cohort.sources.table import Table, parse_classes
from fusion_ln.cohort.sources.us3m import US3M
from fusion_ln.errors import CohortError, SettingsError, SourceError


def as_tuples(archive):
    return [
        (row.patient_id, row.label, row.modality, row.path.relative_to(archive.root).as_posix())
        for row in archive.images
    ]


# --- cv4lymphnode ----------------------------------------------------------------------------------------------------


def test_cv4lymphnode_takes_the_part_before_the_dash_in_the_class_folder(tmp_path, draw):
    for name in ("2d/0/171-1.jpg", "2d/1/171-1.jpg", "cdfi/0/171-12.jpg", "elastic/2/9-3.jpg"):
        draw(tmp_path / name)
    (tmp_path / "2d" / "0" / "Thumbs.db").touch()
    assert as_tuples(CV4LymphNode(tmp_path).read()) == [
        ("0/171", "benign", "2d", "2d/0/171-1.jpg"),
        ("1/171", "lymphoma", "2d", "2d/1/171-1.jpg"),
        ("0/171", "benign", "cdfi", "cdfi/0/171-12.jpg"),
        ("2/9", "metastatic", "elastic", "elastic/2/9-3.jpg"),
    ]


def test_cv4lymphnode_lies_up_to_two_folders_deep(tmp_path, draw):
    draw(tmp_path / "a" / "b" / "2d" / "0" / "1-1.jpg")
    assert CV4LymphNode(tmp_path).read().root == tmp_path / "a" / "b"


def test_patient_pattern_overrides_the_dash(tmp_path, draw):
    draw(tmp_path / "2d" / "0" / "id007_node2.jpg")
    archive = CV4LymphNode(tmp_path, patient_pattern=r"id(\d+)_").read()
    assert archive.images[0].patient_id == "0/007"


@pytest.mark.parametrize("pattern", ["(", "no group", "(two)(groups)"])
def test_a_bad_patient_pattern_is_refused(tmp_path, draw, pattern):
    draw(tmp_path / "2d" / "0" / "1-1.jpg")
    with pytest.raises(SettingsError, match="--patient-pattern"):
        CV4LymphNode(tmp_path, patient_pattern=pattern).read()


def test_a_file_without_a_patient_is_named(tmp_path, draw):
    draw(tmp_path / "2d" / "0" / "1-1.jpg")
    with pytest.raises(SourceError, match=r"1-1\.jpg.*finds no patient"):
        CV4LymphNode(tmp_path, patient_pattern=r"P(\d+)").read()


# --- us3m ------------------------------------------------------------------------------------------------------------


def test_us3m_reads_labels_from_a_table(tmp_path, draw):
    for name in ("001/BUS_1.jpg", "001/BUS_2.jpg", "001/EUS_1.jpg", "002/DUS_1.jpg"):
        draw(tmp_path / name)
    (tmp_path / "labels.csv").write_text("case,label\n001,1\n002,benign\n003,0\n")
    archive = US3M(tmp_path).read()
    assert as_tuples(archive) == [
        ("001", "malignant", "2d", "001/BUS_1.jpg"),
        ("001", "malignant", "2d", "001/BUS_2.jpg"),
        ("001", "malignant", "elastic", "001/EUS_1.jpg"),
        ("002", "benign", "cdfi", "002/DUS_1.jpg"),
    ]
    assert [row.view for row in archive.images] == [1, 2, 1, 1]
    assert "1 of the 3 cases" in archive.remarks[0]


def test_us3m_reads_labels_from_folders_with_cases_numbered_anew_in_each(tmp_path, draw):
    for name in ("benign/001/BUS_1.jpg", "malignant/001/BUS_1.jpg"):
        draw(tmp_path / "US3M" / name)
    assert as_tuples(US3M(tmp_path).read()) == [
        ("benign/001", "benign", "2d", "benign/001/BUS_1.jpg"),
        ("malignant/001", "malignant", "2d", "malignant/001/BUS_1.jpg"),
    ]


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (None, "not laid out as expected"),
        ("id,label\n001,1\n", "no column 'case'; it has id, label"),
        ("case,label\n001,cyst\n", "line 2: case 001 has the unknown label 'cyst'"),
        ("case,label\n002,1\n", "1 cases have no label:\n    001"),
        ("case,label\n001,1\n001,0\n", "case 001 stands in it twice"),
    ],
)
def test_us3m_says_what_its_labels_lack(tmp_path, draw, labels, problem):
    draw(tmp_path / "001" / "BUS_1.jpg")
    if labels:
        (tmp_path / "labels.csv").write_text(labels)
    with pytest.raises(SourceError) as caught:
        US3M(tmp_path).read()
    assert problem in str(caught.value)


def test_us3m_names_a_picture_of_no_known_modality(tmp_path, draw):
    draw(tmp_path / "benign" / "001" / "MRI_1.jpg")
    with pytest.raises(SourceError, match="unknown name 'MRI_1'"):
        US3M(tmp_path).read()


# --- busi ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("above", [False, True])
def test_busi_leaves_masks_out_and_knows_no_patients(busi, above):
    archive = BUSI(busi.parent if above else busi).read()
    assert archive.root == busi
    assert [row.path.name for row in archive.images if row.label == "benign"] == [
        f"benign ({number}).png" for number in (1, 2, 3, 4, 5, 10)
    ]
    assert {row.patient_id for row in archive.images} == {None}


# --- table -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def write_table(tmp_path, draw):
    for name in "abcdef":
        draw(tmp_path / "pictures" / f"{name}.png")

    def write(text, encoding="utf-8"):
        (tmp_path / "patients.csv").write_text(text, encoding=encoding)
        return tmp_path / "patients.csv"

    return write


def test_table_with_one_row_per_patient(write_table):
    path = write_table(
        "patient_id,label,2d,cdfi,site,age,sex\n"
        "007,malignant,pictures/a.png,pictures/b.png,Harbin,61,f\n"
        "008,benign,pictures/c.png,,Jilin,,m\n"
    )
    archive = Table(path).read()
    assert as_tuples(archive) == [
        ("007", "malignant", "2d", "pictures/a.png"),
        ("007", "malignant", "cdfi", "pictures/b.png"),
        ("008", "benign", "2d", "pictures/c.png"),
    ]
    assert archive.classes == ("benign", "malignant")
    assert archive.modalities == ("2d", "cdfi")
    assert [row.site for row in archive.images] == ["Harbin", "Harbin", "Jilin"]
    assert archive.clinical["patient_id"].tolist() == ["007", "008"]
    assert archive.clinical["age"].iloc[0] == 61
    assert archive.clinical["age"].isna().tolist() == [False, True]
    assert archive.clinical["sex"].tolist() == ["f", "m"]


READERS = "patient_id,label,2d,reader:Li,Reader:Li:Malignant\n7,malignant,pictures/a.png,1,5\n8,benign,pictures/b.png,"


def test_readers_of_a_table_are_read_by_class_and_gap(write_table, tmp_path):
    two_more = "\n9,malignant,pictures/c.png,Benign,2\n10,benign,pictures/d.png,benign,1\n"
    cohort = import_cohort(Table(write_table(f"{READERS},NA{two_more}")), tmp_path / "cohort", k=2)
    patients = cohort.patients.set_index("patient_id")
    assert patients["reader:Li"].fillna("").to_dict() == {"7": "malignant", "8": "", "9": "benign", "10": "benign"}
    assert patients["reader:Li:malignant"].dropna().to_dict() == {"7": 5, "9": 2, "10": 1}


@pytest.mark.parametrize(
    ("call", "classes", "message"),
    [
        ("cyst,1", (), "column 'reader:Li', patient 8: 'cyst' is no class"),
        (",high", (), "column 'Reader:Li:Malignant', patient 8: 'high' is no number"),
        ("cyst,1", ("benign", "malignant", "cyst"), "column 'reader:Li', patient 8: 'cyst' is no class"),
    ],
)
def test_a_reader_who_names_no_class_is_refused_with_file_and_patient(write_table, call, classes, message):
    """Before any picture is read; a class that no patient has is none either."""
    path = write_table(f"{READERS}{call}\n")
    with pytest.raises(CohortError) as error:
        Table(path, classes=classes).read()
    assert error.value.problem == f"{path}: {message}."


def test_a_reader_who_read_nobody_is_left_out_with_a_remark(write_table):
    archive = Table(write_table("patient_id,label,2d,reader:Li\n7,a,pictures/a.png,NA\n8,b,pictures/b.png,\n")).read()
    assert "Column 'reader:Li' holds nothing: left out." in archive.remarks
    assert list(archive.clinical) == ["patient_id"]


def test_two_calls_of_one_reader_for_a_patient_are_refused(write_table):
    lines = "patient_id,label,modality,path,reader:Li\n7,a,2d,pictures/a.png,a\n7,a,cdfi,pictures/b.png,b\n"
    with pytest.raises(SourceError, match="'reader:Li' differs between lines of patient 7"):
        Table(write_table(f"{lines}8,b,2d,pictures/c.png,b\n")).read()


def test_a_table_of_pictures_has_own_modalities_and_labels_by_number(write_table):
    path = write_table(
        "patient_id;label;modality;path;view;device;age\r\n"
        "p1;0;ceus;pictures/a.png;2;X;50\r\n\r\np1;0;2d;pictures/b.png;1;Y;50\r\np2;1;2d;pictures/c.png;1;X;60\r\n",
        encoding="utf-8-sig",
    )
    archive = Table(path, classes=("benign", "lymphoma")).read()
    assert archive.modalities == ("2d", "ceus")
    assert [(row.patient_id, row.label, row.view) for row in archive.images] == [
        ("p1", "benign", 2),
        ("p1", "benign", 1),
        ("p2", "lymphoma", 1),
    ]
    assert list(archive.clinical.columns) == ["patient_id", "age"]
    assert "'device' differs" in archive.remarks[0]


def test_any_column_of_pictures_is_a_modality_whatever_its_name(write_table):
    path = write_table(
        "patient_id,label,swe map,2d,ceus,device,note\n"
        "p1,0,,pictures/a.png,pictures/b.png,X.png ray,\np2,1,pictures/c.png,pictures/d.png,,scanner,\n"
    )
    archive = Table(path, classes=("benign", "lymphoma")).read()
    assert archive.modalities == ("2d", "ceus", "swe map")
    assert as_tuples(archive) == [
        ("p1", "benign", "2d", "pictures/a.png"),
        ("p1", "benign", "ceus", "pictures/b.png"),
        ("p2", "lymphoma", "2d", "pictures/d.png"),
        ("p2", "lymphoma", "swe map", "pictures/c.png"),
    ]
    assert list(archive.clinical.columns) == ["patient_id", "device", "note"]


@pytest.mark.parametrize(
    ("header", "lines", "column"),
    [
        ("modality,path,elastic", "2d,pictures/a.png,pictures/b.png\n2d,pictures/c.png,", "elastic"),
        ("modality,path,extra", "2d,pictures/a.png,none there\n2d,pictures/b.png,pictures\\c.png", "extra"),
        ("2d,ceus", "pictures/a.png,pictures/b.png\npictures/c.png,not done\npictures/d.png,not done", "ceus"),
        ("2d,path", "pictures/a.png,pictures/b.png\npictures/c.png,pictures/d.png", "path"),
        ("2d,View", "pictures/a.png,pictures/b.png\npictures/c.png,pictures/d.png", "view"),
    ],
)
def test_a_column_of_pictures_is_never_lost_in_silence(write_table, header, lines, column):
    rows = [f"{n},{'xy'[n % 2]},{line}" for n, line in enumerate(lines.split("\n"))]
    with pytest.raises(SourceError, match=f"line [23]: column '{column}' holds a picture") as caught:
        Table(write_table("\n".join([f"patient_id,label,{header}", *rows]))).read()
    assert "remove it" in caught.value.way_out


def test_a_sentence_that_ends_in_a_pictures_name_is_text(write_table):
    path = write_table(
        "patient_id,label,2d,note\n1,x,pictures/a.png,see old.png\n2,y,pictures/b.png,none\n3,y,pictures/c.png,x\n"
    )
    assert Table(path).read().clinical["note"].tolist() == ["see old.png", "none", "x"]


def test_labels_equal_as_numbers_are_refused(write_table):
    with pytest.raises(SourceError, match=r"label '1' and '1\.0' differ only in spelling"):
        Table(write_table("patient_id,label,2d\n1,0,pictures/a.png\n2,1,pictures/b.png\n3,1.0,pictures/c.png\n")).read()


HEADER = "patient_id,label,2d\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        (HEADER, "no line below its header"),
        ("patient,label,2d\n1,0,pictures/a.png\n", "no column patient_id; it has patient, label, 2d"),
        ("patient_id,label,bmode\n1,0,dark\n", "no column modality and path, and none of pictures (2d, cdfi, elastic"),
        ("patient_id,label,ceus\n1,0,pictures/zz.png\n", "pictures that do not exist (1):\n    line 2: "),
        (
            "patient_id,label,2d,ceus\n1,0,pictures/a.png,pictures/c.png\n2,1,pictures/b.png,dark\n3,1,,pictures/d.png\n",
            "pictures that do not exist (1):\n    line 3: ",
        ),
        ("patient_id,label,label,2d\n1,0,0,pictures/a.png\n", "column 'label' stands in it twice"),
        (HEADER + "1,0,pictures/a.png,x\n", "line 2: 4 cells, but the header has 3 columns"),
        (HEADER + "1,0,pictures/a.png\n2,cyst,pictures/b.png\n", "line 3: unknown label 'cyst'"),
        (HEADER + "1,7,pictures/a.png\n", "line 2: unknown label '7'"),
        (HEADER + "1,,pictures/a.png\n", "line 2: no label"),
        (HEADER + ",0,pictures/a.png\n", "line 2: no patient_id"),
        (HEADER + "1,0,\n", "line 2: patient 1 has no picture"),
        (HEADER + "1,0,pictures/a.png\n\n1,1,pictures/b.png\n", "patient 1 is benign in line 2, malignant in line 4"),
        (HEADER + "1,0,../a.png\n", "line 2: ../a.png leads out of the folder"),
        (HEADER + "1,0,/etc/hostname\n", "line 2: /etc/hostname leads out of the folder"),
        (HEADER + "1,0,pictures/a.png\n2,1,pictures/a.png\n", "a.png stands in line 2 and in line 3"),
        (HEADER + "1,0,pictures/a.png\n2,1,pictures/zz.png\n", "pictures that do not exist (1):\n    line 3: "),
        (HEADER + "1,0,pictures/a.png\n2,1,./pictures/../pictures/a.png\n", "stands in line 2 and in line 3"),
        (HEADER + "NA,0,pictures/a.png\n", "line 2: no patient_id ('NA')"),
        (HEADER + "1,n/a,pictures/a.png\n", "line 2: no label ('n/a')"),
        (HEADER + "1,0,NA\n", "line 2: patient 1 has no picture"),
        (HEADER + "1,0,C:\\pictures\\zz.png\n", "pictures that do not exist (1):\n    line 2: "),
        (HEADER + "1,0,..\\a.png\n", "line 2: ..\\a.png leads out of the folder"),
        (HEADER.replace("2d", "2d,site") + "1,0,pictures/a.png,A\n2,0,pictures/b.png,a\n", "site 'A' and 'a' differ"),
        (HEADER.replace("2d", "2d,site") + "1,0,pictures/a.png,1\n2,0,pictures/b.png,01\n", "site '1' and '01' differ"),
        ("patient_id,label,modality,path\n1,0,,pictures/a.png\n", "line 2: no modality"),
        ("patient_id,label,modality,path\n1,0,2d,-\n", "line 2: no path ('-')"),
        ("patient_id,label,modality,path\n1,0,b,pictures/a.png\n2,0,B,pictures/b.png\n", "modality 'b' and 'B' differ"),
        ("patient_id,label,modality,path,view\n1,0,2d,pictures/a.png,left\n", "line 2: view 'left'"),
    ],
)
def test_each_mistake_in_a_table_is_named_with_its_line(write_table, text, problem):
    path = write_table(text)
    with pytest.raises(SourceError) as caught:
        Table(path, classes=("benign", "malignant")).read()
    assert problem.format(tmp=path.parent) in caught.value.problem
    assert caught.value.way_out


def test_a_table_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        Table(tmp_path / "b.csv").read()
    with pytest.raises(SourceError, match="is a folder"):
        Table(tmp_path).read()


def test_names_in_any_case_gaps_as_na_and_backslashes_are_read(write_table):
    path = write_table(
        "Patient_ID,LABEL,2D,Cdfi,Age\n1,x,pictures\\a.png,NA,41\n2,y,pictures\\b.png,pictures\\c.png,unknown\n"
    )
    archive = Table(path).read()
    assert as_tuples(archive) == [
        ("1", "x", "2d", "pictures/a.png"),
        ("2", "y", "2d", "pictures/b.png"),
        ("2", "y", "cdfi", "pictures/c.png"),
    ]
    assert archive.clinical["Age"].dtype == float


def test_labels_differing_in_spelling_are_refused_unless_classes_are_given(write_table):
    path = write_table(HEADER + "1,Benign,pictures/a.png\n2,benign ,pictures/b.png\n3,cyst,pictures/c.png\n")
    with pytest.raises(SourceError, match="label 'Benign' and 'benign' differ only in spelling") as caught:
        Table(path).read()
    assert "--classes" in caught.value.way_out
    archive = Table(path, classes=("Cyst", "benign")).read()
    assert [row.label for row in archive.images] == ["benign", "benign", "Cyst"]
    with pytest.raises(SettingsError):
        parse_classes("benign,Benign")


def test_absolute_paths_fit_a_table_that_is_named_relatively(write_table, tmp_path, monkeypatch):
    write_table(HEADER + f"1,x,{tmp_path}/pictures/a.png\n2,y,pictures/b.png\n")
    monkeypatch.chdir(tmp_path)
    archive = Table(Path("patients.csv")).read()
    assert [row.path for row in archive.images] == [Path("pictures/a.png"), Path("pictures/b.png")]


def test_a_nearly_numeric_column_and_ids_that_nearly_repeat_are_remarked(write_table, capsys):
    lines = [f"p{n},{'xy'[n % 2]},pictures/{'abcdef'[n]}.png,{n}.5,{n}" for n in range(5)]
    path = write_table("\n".join([HEADER.strip() + ",size,fold", *lines, "P1,x,pictures/f.png,5 mm,1"]))
    remarks = Table(path).read().remarks
    assert any("'size' is nearly numeric, but for '5 mm' (line 7)" in remark for remark in remarks)
    assert any("Column 'fold': no model takes it, by its name" in remark for remark in remarks)
    assert any("patients 'p1' and 'P1' differ only in spelling" in remark for remark in remarks)
    assert "pictures" in capsys.readouterr().err  # kind of the column 2d


# --- all folders -----------------------------------------------------------------------------------------------------


# --- lymphus ---------------------------------------------------------------------------------------------------------


def test_lymphus_reads_pictures_alone_with_the_centre_as_site(tmp_path, draw):
    for centre, label in (("1", "Benign"), ("1", "Malignant"), ("2", "Benign")):
        for part in ("Image.bmp", "Mask.tif", "Lesion.bmp"):
            draw(tmp_path / "LymphUs" / f"Center {centre}" / label / f"12 {label} {part}")
    (tmp_path / "LymphUs" / "Center 1" / "Findings.xlsx").write_bytes(b"")
    archive = LymphUs(tmp_path).read()
    assert as_tuples(archive) == [
        ("1/Benign/12", "benign", "2d", "Center 1/Benign/12 Benign Image.bmp"),
        ("1/Malignant/12", "malignant", "2d", "Center 1/Malignant/12 Malignant Image.bmp"),
        ("2/Benign/12", "benign", "2d", "Center 2/Benign/12 Benign Image.bmp"),
    ]
    assert [row.site for row in archive.images] == ["Center 1", "Center 1", "Center 2"]
    assert "Center 1/Findings.xlsx" in archive.remarks[0]


def test_lymphus_names_a_picture_in_the_folder_of_the_other_class(tmp_path, draw):
    draw(tmp_path / "Center 1" / "Benign" / "3 Malignant Image.bmp")
    with pytest.raises(SourceError, match="unknown name '3 Malignant Image'"):
        LymphUs(tmp_path).read()


@pytest.mark.parametrize("source", [CV4LymphNode, US3M, BUSI, LymphUs])
def test_missing_empty_and_foreign_folders_get_the_expected_layout(tmp_path, source):
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign" / "holiday").mkdir(parents=True)
    (tmp_path / "file").touch()
    expected = {"missing": "no such folder", "empty": "empty", "foreign": "not laid out", "file": "is a file"}
    for name, problem in expected.items():
        with pytest.raises(SourceError, match=problem) as caught:
            source(tmp_path / name).read()
        assert "Expected: " in caught.value.way_out


def test_two_archives_in_one_folder_are_told_apart_by_the_user(tmp_path, draw):
    for name in ("one", "two"):
        draw(tmp_path / name / "2d" / "0" / "1-1.jpg")
    with pytest.raises(SourceError, match=r"several folders look like the archive .*one.*two"):
        CV4LymphNode(tmp_path).read()
