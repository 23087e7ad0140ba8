import re
import shutil
from dataclasses import replace

import numpy as np
import openpyxl
import pandas as pd
import pytest
from tiny import fusionln, refused

from fusion_ln.cohort.folder import save_cohort
from fusion_ln.cohort.sources.table import Table
from fusion_ln.cohort.statistics import table_one
from fusion_ln.errors import CohortError, SourceError
from fusion_ln.report.cohort.figures import draw_shares
from fusion_ln.report.cohort.page import Patients, read_patients, write_statistics


@pytest.fixture
def table(rng):
    n = 60
    return pd.DataFrame(
        {
            "patient_id": [f"P{i}" for i in range(n)],
            "diagnosis": ["benign", "lymphoma & other", "metastatic"] * (n // 3),
            "long_axis_mm": rng.normal(20, 3, n).round(1),
            "short_axis_mm": rng.normal(9, 1, n).round(1),
            "elastography_score": rng.integers(1, 5, n),
            "hilum": rng.choice(["absent", "present"], n),
        }
    )


def test_table_one_is_written_as_csv_html_and_latex_with_figures(table, tmp_path):
    table.assign(visit="2024-02-01").to_csv(tmp_path / "patients.csv", index=False)
    output = fusionln("cohort", "stats", tmp_path / "patients.csv", "--label", "diagnosis")
    out = tmp_path / "patients-statistics"
    assert all(f"Wrote {out / name}" in output for name in ("table1.csv", "table1.html", "table1.tex"))
    assert "Left out of Table 1: visit (dates)" in output
    columns = ["variable", "level", "benign", "lymphoma & other", "metastatic", "test", "statistic", "p"]
    assert pd.read_csv(out / "table1.csv").columns.tolist() == columns
    figures = {path.stem for path in (out / "figures").iterdir()}
    assert {
        "shares_elastography_score",
        "shares_hilum",
        "boxes_long_axis_mm",
        "boxes_axis_ratio",
        "correlation",
    } <= figures
    page = (out / "table1.html").read_text()
    assert page.count("<svg") == len(figures)
    assert "lymphoma &amp; other" in page
    assert not re.search(r">nan<", page)
    assert r"lymphoma \& other" in (out / "table1.tex").read_text()


def test_latex_prints_names_of_classes_columns_and_levels_as_they_are(table, tmp_path):
    table = table.rename(columns={"hilum": "hi_lum [%]"}).replace({"benign": "be|nign\n{x}", "absent": "*ab^sent~"})
    write_statistics(tmp_path / "out", Patients("x", table, label="diagnosis"))
    text = (tmp_path / "out" / "table1.tex").read_text()
    for expected in (r"be\textbar{}nign \{x\}", r"Hi lum {[}\%{]}", r"{*}ab\textasciicircum{}sent\textasciitilde{}"):
        assert expected in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") - line.count(r"\&") for line in rows} == {7}


def test_a_cohort_names_its_classes_and_a_simulated_one_says_so(make_cohort, tmp_path):
    cohort = make_cohort(20)
    for path in write_statistics(tmp_path / "out", read_patients(cohort.root, None)):
        assert "benign" in path.read_text()
        assert "simulated" not in path.read_text().partition("</style>")[2].lower()
    simulated = Patients("phantom", cohort.patients, classes=cohort.classes, simulated=True)
    for path in write_statistics(tmp_path / "simulated", simulated):
        assert "simulated" in path.read_text().partition("</style>")[2].lower() or "simulated" in path.read_text()


def test_a_file_without_a_label_twice_a_patient_or_no_table_is_refused(table, tmp_path):
    path = tmp_path / "patients.csv"
    table.to_csv(path, index=False)
    with pytest.raises(CohortError, match="which column holds the class"):
        read_patients(path, None)
    with pytest.raises(CohortError, match="no column 'outcome'"):
        write_statistics(tmp_path / "out", read_patients(path, "outcome"))
    pd.concat([table, table[:1]]).to_csv(path, index=False)
    with pytest.raises(CohortError, match="patient 'P0' twice"):
        read_patients(path, "diagnosis")
    path.write_bytes(b"")
    with pytest.raises(SourceError, match="empty"):
        read_patients(path, "diagnosis")
    path.write_text("diagnosis\nBenign\nbenign\n")
    with pytest.raises(SourceError, match="diagnosis 'Benign' and 'benign' differ only in spelling"):
        read_patients(path, "diagnosis")
    shutil.rmtree(tmp_path / "out", ignore_errors=True)


UNTIDY = (
    "Patient_ID;Label;2D;site;age;size;note;echo\n"
    "001;良性;img\\1.png;A;41;10,5;x;NA\n002;恶性;img\\2.png;A;NA;12,5;?;2\n003;良性;img\\3.png;B;-;8,25;y;1\n"
)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030", "xlsx"])
def test_a_table_has_the_same_columns_for_import_and_for_statistics(tmp_path, encoding):
    path = tmp_path / "patients"
    if encoding == "xlsx":
        book = openpyxl.Workbook()
        for line in UNTIDY.splitlines():
            book.active.append(line.split(";"))
        book.save(path)
    else:
        path.write_text(UNTIDY, encoding=encoding)
    (tmp_path / "img").mkdir()
    for name in "123":
        (tmp_path / "img" / f"{name}.png").touch()
    archive = Table(path).read()
    patients = read_patients(path, None)
    taken = patients.table[archive.clinical.columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(archive.clinical.convert_dtypes(), taken.convert_dtypes())
    assert patients.table["age"].iloc[0] == 41
    assert patients.table["size"].tolist() == [10.5, 12.5, 8.25]
    assert patients.table["patient_id"].tolist() == ["001", "002", "003"]
    assert [row.label for row in archive.images] == patients.table["label"].tolist() == ["良性", "恶性", "良性"]


def test_columns_that_are_no_variables_are_left_out_with_the_reason(table, tmp_path):
    table["visit"] = [f"2024-02-{n % 28 + 1:02d}" for n in range(len(table))]
    table["ceus"] = [f"{n}.png" for n in range(len(table))]
    table["short_axis_mm"] = ["<5", *table["short_axis_mm"].astype(str)[1:]]
    table.to_csv(tmp_path / "patients.csv", index=False)
    patients = read_patients(tmp_path / "patients.csv", "diagnosis")
    assert table_one(patients.table, label="diagnosis").left_out == {
        "visit": "dates",
        "ceus": "paths of pictures",
        "short_axis_mm": "nearly numeric, but for '<5'",
    }


def test_missing_values_and_a_class_without_any_leave_no_gap(table, tmp_path):
    table.loc[table["diagnosis"] == "benign", "long_axis_mm"] = None
    write_statistics(tmp_path / "out", Patients("holes", table, label="diagnosis"))
    assert ">nan<" not in (tmp_path / "out" / "table1.html").read_text()


def test_named_classes_give_order_and_spelling_as_for_import(table, tmp_path):
    spelt = table["diagnosis"].replace({"benign": "Benign", "lymphoma & other": "1"})
    spelt[0] = "BENIGN"
    table.assign(label=spelt).drop(columns="diagnosis").to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(SourceError, match="--classes A,B"):
        read_patients(tmp_path / "p.csv", None)
    found = read_patients(tmp_path / "p.csv", None, ("metastatic", "lymphoma", "benign"))
    counts = table_one(found.table, label=found.label, classes=found.classes).table.iloc[0]
    assert list(counts[2:5].items()) == [("metastatic", "20"), ("lymphoma", "20"), ("benign", "20")]
    with pytest.raises(SourceError, match=r"p\.csv, line 4: unknown label 'metastatic'.*\n.*Known: benign, lymphoma"):
        read_patients(tmp_path / "p.csv", None, ("benign", "lymphoma"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_a_number_not_finite_or_overflowing_is_left_out_with_the_reason(table, value):
    table["long_axis_mm"] = table["long_axis_mm"].mask(table.index == 3, value)
    found = table_one(table, label="diagnosis")
    assert found.left_out == {"long_axis_mm": "values that are not finite or beyond 1e+100"}


@pytest.mark.filterwarnings("error")
def test_a_cohort_without_sites_has_no_row_of_sites(make_cohort):
    cohort = make_cohort(12)
    save_cohort(replace(cohort, patients=cohort.patients.assign(site="")))
    patients = read_patients(cohort.root, None)
    found = table_one(patients.table, label=patients.label, classes=patients.classes)
    assert found.left_out == {"site": "no value"}
    draw_shares("level", {"a": pd.Series(["_x", ""]), "b": pd.Series(["y", "y"])}, simulated=False)


def test_table_one_never_replaces_the_table_it_is_made_of(tmp_path):
    (tmp_path / "table1.csv").write_text("label,age\na,1\nb,2\n")
    assert "would replace FILE" in refused("cohort", "stats", tmp_path / "table1.csv", "--out", tmp_path)
    assert (tmp_path / "table1.csv").read_text().startswith("label,age")
