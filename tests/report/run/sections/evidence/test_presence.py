from dataclasses import replace

import pytest

from fusion_ln.report.run.page import write_results
from fusion_ln.report.run.section import Report
from fusion_ln.report.run.sections.evidence.presence import build


@pytest.fixture
def linked(results):
    """The results of a cohort in which one benign node alone has an elastogram."""
    cohort = results.cohort
    benign = cohort.patients.loc[cohort.patients["label"] == 0, "patient_id"].iloc[1:]
    kept = ~(cohort.images["patient_id"].isin(benign) & (cohort.images["modality"] == "elastic"))
    fusion = next(model for model in results.models if model.is_fusion)
    return replace(results, cohort=replace(cohort, images=cohort.images[kept]), models=(results.models[0], fusion))


def test_a_link_stands_in_red_at_the_head_of_the_page(linked, tmp_path, undrawn):
    page = write_results(tmp_path, linked, title="Linked").read_text()
    head = page.partition('aria-label="The answer"')[0]
    assert 'class="banner alarm"' in head
    assert "read the class off the examination" in head.replace("\n", " ")
    assert {"presence.csv", "same_pattern.csv"} <= {path.name for path in (tmp_path / "tables").iterdir()}


def test_the_fusion_s_auc_stands_beside_the_one_over_the_same_pictures(linked, tmp_path):
    section = build(Report(linked, tmp_path, "Linked"))
    [row] = section.tables["same_pattern"].table.to_dict("records")
    assert row["auc"] != row["same"]
    assert 0 < row["share"] < 1
    assert section.tables["presence"].table["pictures"].tolist() == ["2d+cdfi+elastic", "2d+cdfi"]


def test_a_class_that_shares_no_pattern_is_named(linked, tmp_path):
    first = linked.cohort.patients.loc[linked.cohort.patients["label"] == 0, "patient_id"].iloc[0]
    images = linked.cohort.images
    alone = images[(images["patient_id"] != first) | (images["modality"] != "elastic")]
    section = build(Report(replace(linked, cohort=replace(linked.cohort, images=alone)), tmp_path, "Linked"))
    assert "no patient of class 'benign' has the pictures of a patient of another class" in section.left_out[0]


def test_complete_patients_leave_nothing_to_test_and_no_alarm(report):
    section = build(report)
    assert "nothing to test" in section.values["text"]
    assert not section.alarm
    assert not section.tables
