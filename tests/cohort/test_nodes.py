"""Cohorts whose units are nodes, several of a patient."""

import re
from dataclasses import replace

import pandas as pd
import pytest

from fusion_ln.cohort.checks.check import check_pictures, describe_check
from fusion_ln.cohort.draws import draw_fractions, draw_repeats
from fusion_ln.cohort.folder import load_cohort, redraw_folds, save_cohort
from fusion_ln.cohort.importing import import_cohort
from fusion_ln.cohort.source import open_source
from fusion_ln.errors import CohortError, SourceError
from fusion_ln.records.parts import CohortSummary
from fusion_ln.report.cohort.page import read_patients, write_statistics
from fusion_ln.units import patient_of

HEAD = "patient_id,node_id,label,2d,site,long_axis_mm"
N_PATIENTS = 12


@pytest.fixture
def raw(tmp_path, draw):
    """Twelve patients with one to three nodes, the last node of some of another class than the rest."""
    folder, lines = tmp_path / "raw", [HEAD]
    for patient in range(N_PATIENTS):
        for node in range(1 + patient % 3):
            name = f"{patient}-{node}.png"
            draw(folder / name)
            label = "malignant" if (patient % 2 == 0) != (node == 2) else "benign"
            lines.append(f"P{patient:02d},{node + 1},{label},{name},{'AB'[patient % 2]},{10 + node}")
    (folder / "nodes.csv").write_text("\n".join(lines))
    return folder / "nodes.csv"


def imported(table, out):
    return import_cohort(open_source("table", table), out, k=3)


def test_each_node_has_its_own_label_pictures_and_findings(raw, tmp_path):
    cohort = imported(raw, tmp_path / "cohort")
    assert cohort.count_units() == cohort.describe().count_nodes() == "24 nodes of 12 patients"
    rows = cohort.patients.set_index("patient_id")
    assert rows.loc[["P02::1", "P02::3"], "label"].tolist() == [1, 0]
    assert rows.loc["P02::3", "long_axis_mm"] == 12
    assert cohort.images.set_index("patient_id").loc["P02::3", "path"] == "2-2.png"


def test_tables_on_disk_have_a_column_of_nodes_and_are_read_back(raw, tmp_path):
    cohort = imported(raw, tmp_path / "cohort")
    for name in ("patients", "images", "folds"):
        table = pd.read_parquet(tmp_path / "cohort" / f"{name}.parquet")
        assert set(table["node_id"]) == {"1", "2", "3"}
        assert table["patient_id"].nunique() == N_PATIENTS
    loaded = load_cohort(tmp_path / "cohort")
    assert (loaded.fingerprint, loaded.folds_fingerprint) == (cohort.fingerprint, cohort.folds_fingerprint)


def test_a_summary_counts_patients_and_nodes_also_in_earlier_records(raw, tmp_path):
    held = imported(raw, tmp_path / "cohort").describe()
    assert (held.patients, held.nodes, held.n_units) == (12, 24, 24)
    earlier = {**held.model_dump(exclude={"nodes"}), "patients": 24, "owners": 12}
    assert CohortSummary.model_validate(earlier) == held


def test_table_one_has_each_patient_once_by_the_worst_node(raw, tmp_path):
    """Of patient 2, nodes 1 and 2 are malignant; of 5, node 3 alone."""
    cohort = imported(raw, tmp_path / "cohort")
    table = read_patients(cohort.root, None).table.set_index("patient_id")
    assert table.index.tolist() == [f"P{number:02d}" for number in range(N_PATIENTS)]
    assert table["nodes"].tolist() == [1, 2, 3] * 4
    assert table.loc[["P02", "P05"], ["label", "long_axis_mm"]].to_numpy().tolist() == [[1, 10], [1, 12]]
    write_statistics(tmp_path / "out", read_patients(cohort.root, None))
    rows = pd.read_csv(tmp_path / "out" / "table1.csv").set_index("variable")
    malignant = [n for n in range(N_PATIENTS) if n % 2 == 0 or n % 3 == 2]
    assert rows.loc["patients", ["benign", "malignant"]].astype(int).tolist() == [12 - len(malignant), len(malignant)]
    page = (tmp_path / "out" / "table1.html").read_text()
    assert "24 nodes of 12 patients: each patient is one row" in page


def test_nodes_of_a_patient_share_every_part_of_every_draw(raw, tmp_path):
    cohort = imported(raw, tmp_path / "cohort")
    again = redraw_folds(tmp_path / "cohort", k=2, seed=5)
    repeat = draw_repeats(cohort, tmp_path / "runs", repeats=2, seed=0)[1].cohort
    for each in (cohort, again, repeat):
        parts = each.folds.drop(columns="patient_id").groupby(each.folds["patient_id"].map(patient_of)).nunique()
        assert (parts == 1).all(axis=None)
        for fold in range(each.n_folds):
            training, inner = each.training_part(fold)
            labels = each.patients.set_index("patient_id")["label"]
            assert all(set(labels[part]) == {0, 1} for part in (training, inner, each.held_out(fold)))


def test_folds_that_part_a_patient_are_refused(raw, tmp_path):
    cohort = imported(raw, tmp_path / "cohort")
    folds = cohort.folds.copy()
    row = folds["patient_id"] == "P01::2"
    folds.loc[row, "fold"] = (folds.loc[row, "fold"] + 1) % 3
    folds.loc[row, ["inner_0", "inner_1", "inner_2"]] = False
    with pytest.raises(CohortError, match="the nodes of patient P01 lie in several parts"):
        save_cohort(replace(cohort, folds=folds))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("P01,2,", "P01,,", "line 4: no node_id of patient P01"),
        ("P01,2,benign", "P01,1,malignant", "patient P01::1 is benign in line 3, malignant in line 4"),
        ("P01,2,benign,1-1.png,B", "P01,2,benign,1-1.png,A", "patient P01: has nodes at two sites"),
        ("P01,2,", "P01,le::ft,", "line 4: 'le::ft' holds '::'"),
    ],
)
def test_each_mistake_in_the_nodes_of_a_table_is_named(raw, tmp_path, old, new, problem):
    raw.write_text(raw.read_text().replace(old, new))
    with pytest.raises(SourceError, match=problem):
        imported(raw, tmp_path / "cohort")


def test_a_node_under_two_patients_is_refused_unless_it_is_counted_within_each(raw, tmp_path):
    raw.write_text(raw.read_text().replace("P01,2,", "P01,N7,").replace("P04,2,", "P04,N7,"))
    with pytest.raises(SourceError, match="node N7 is of patient P01 in line 4, of P04 in line 10") as caught:
        imported(raw, tmp_path / "cohort")
    assert "belongs to one patient" in caught.value.way_out


def test_whole_numbers_with_decimals_name_nodes_as_those_without(raw, tmp_path, capsys):
    raw.write_text(re.sub(r"^(P\d+,\d),", r"\1.0,", raw.read_text(), flags=re.MULTILINE))
    assert set(imported(raw, tmp_path / "cohort").patients["patient_id"].str[5:]) == {"1", "2", "3"}
    assert "column node_id holds whole numbers with decimals: read without (1.0 as 1)" in capsys.readouterr().err
    raw.write_text(raw.read_text().replace("P02,3.0,", "P02,1.2,"))  # no whole number: names as they stand
    with pytest.raises(SourceError, match=r"node 1\.0 is of patient P00 in line 2, of P01"):
        imported(raw, tmp_path / "other")


def test_a_patient_who_would_pass_for_a_node_is_refused(tmp_path, draw):
    draw(tmp_path / "raw" / "2d" / "0" / "a::1-1.jpg")
    draw(tmp_path / "raw" / "2d" / "1" / "b-1.jpg")
    with pytest.raises(SourceError, match="'0/a::1': holds '::'"):
        import_cohort(open_source("cv4lymphnode", tmp_path / "raw"), tmp_path / "cohort", k=2)


def test_two_nodes_of_a_patient_may_not_share_a_picture(raw, tmp_path):
    raw.write_text(raw.read_text().replace("1-1.png", "1-0.png"))
    with pytest.raises(SourceError, match=r"1-0\.png stands in line 3 and in line 4"):
        imported(raw, tmp_path / "cohort")


def test_parts_of_the_training_are_not_drawn_of_nodes(raw, tmp_path):
    cohort = imported(raw, tmp_path / "cohort")
    with pytest.raises(CohortError, match=r"24 nodes of 12 patients; parts of the training"):
        draw_fractions(cohort, tmp_path / "runs", fractions=[0.5], seed=0)


def test_a_picture_under_two_nodes_of_a_patient_is_found_by_the_check(raw, tmp_path):
    (raw.parent / "2-1.png").write_bytes((raw.parent / "2-0.png").read_bytes())
    (raw.parent / "5-1.png").write_bytes((raw.parent / "5-2.png").read_bytes())  # of another class
    checked = check_pictures(imported(raw, tmp_path / "cohort"))
    findings = checked.findings
    assert re.search(r"benign: \d+ nodes of \d+ patients; pictures", describe_check(checked))
    same = findings[findings["detail"].str.contains("of two nodes of one patient")]
    assert sorted(same["kind"]) == ["two labels", "two patients"]
    assert (same["severity"] == "problem").all()


@pytest.mark.parametrize("heading", ["Node ID", "NODE-id", "node id"])
def test_the_column_of_nodes_may_be_spelt_in_other_ways(raw, tmp_path, heading):
    raw.write_text(raw.read_text().replace("node_id", heading))
    assert imported(raw, tmp_path / "cohort").count_units() == "24 nodes of 12 patients"


def test_a_column_that_may_mean_nodes_is_said(raw, tmp_path, capsys):
    raw.write_text(raw.read_text().replace("node_id", "Lymph node"))
    with pytest.raises(SourceError, match="patient P02 is malignant in line 5, benign in line 7"):
        imported(raw, tmp_path / "cohort")
    assert "column 'Lymph node' names no nodes: call it node_id" in capsys.readouterr().err


def test_patients_and_their_nodes_that_are_spelt_alike_are_said(raw, tmp_path):
    text = raw.read_text().replace("P01,2,", "p01,2,").replace("P05,3,", "P05,x,").replace("P05,2,", "P05,X,")
    raw.write_text(text.replace("P02,3,", "P02,01,").replace("P06,", "7,").replace("P07,", "007,"))
    found = [remark for remark in imported(raw, tmp_path / "cohort").details.remarks if "spelling" in remark]
    assert [remark.removesuffix(" differ only in spelling, and are taken for several.") for remark in found] == [
        "Warning: patients 'P01' and 'p01'",
        "Warning: patients '7' and '007'",
        "Warning: nodes '1' and '01' of patient 'P02'",
        "Warning: nodes 'X' and 'x' of patient 'P05'",
    ]


def test_an_age_that_differs_between_nodes_of_a_patient_is_said(raw, tmp_path):
    lines = [line + (",50" if number else ",age (y)") for number, line in enumerate(raw.read_text().splitlines())]
    raw.write_text("\n".join(lines))
    assert not any("age" in remark for remark in imported(raw, tmp_path / "cohort").details.remarks)
    lines[3] = lines[3].removesuffix("50") + "51"
    raw.write_text("\n".join(lines))
    remarks = imported(raw, tmp_path / "other").details.remarks
    assert "Warning: column 'age (y)' differs between nodes of 'P01'; patients with such: 1." in remarks
