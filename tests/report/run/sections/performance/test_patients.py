from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fusion_ln.evaluation import swaps
from fusion_ln.evaluation.intervals import metric_intervals
from fusion_ln.predictions import by_patient
from fusion_ln.report.run.page import build_sections, write_results
from fusion_ln.report.run.reading import read_results
from fusion_ln.report.run.section import Report
from fusion_ln.report.run.sections.performance.differences import build as build_differences
from fusion_ln.report.run.sections.performance.patients import build, patient_differences, patient_figures


@pytest.fixture(scope="module")
def results(of_nodes):
    cohort, runs = of_nodes
    return read_results(runs, cohort)


def test_figures_by_patient_are_those_of_predictions_with_a_row_each(results):
    table = patient_figures(results, [])
    own = table[(table["model"] == results.main.name) & (table["class"] == "all")].set_index("metric")
    units = results.cohort.patients["patient_id"]
    whole = by_patient(results.main.predictions, units)
    expected = metric_intervals(whole, n_resamples=results.n_resamples)
    expected = expected[expected["class"] == "all"].set_index("metric").loc[own.index]
    assert (own["n"] == 30).all()
    pd.testing.assert_frame_equal(own[["value", "ci_low", "ci_high"]], expected[["value", "ci_low", "ci_high"]])
    found = patient_differences(results, []).iloc[0]
    values = [by_patient(model.predictions, units) for model in (results.candidate, results.reference)]
    assert found["difference"] == pytest.approx(
        np.subtract(*(metric_intervals(each, n_resamples=2).iloc[0]["value"] for each in values))
    )


def test_a_patient_whom_a_model_predicted_in_part_is_counted_as_left_out(results, tmp_path):
    first, *others = results.models
    kept = first.predictions.of(first.predictions.patients[3:])  # nothing of p000, one node of p001
    part = replace(results, models=(replace(first, predictions=kept), *others))
    found = patient_figures(part, []).drop_duplicates("model").set_index("model")[["n", "left_out"]]
    assert found.loc[first.name].tolist() == [28, 1]
    assert found.loc[others[0].name].tolist() == [30, 0]
    rebuilt = replace(results, cohort=replace(results.cohort, patients=results.cohort.patients.iloc[1:]))
    section = build(Report(rebuilt, tmp_path, "Title"))
    assert "not at hand" in section.left_out[0]
    assert section.sheets[0].table.empty


def test_whole_patients_name_their_own_test_where_nodes_have_another(results, tmp_path, monkeypatch):
    monkeypatch.setattr(swaps, "SWAPPED_UP_TO", 40)
    report = Report(results, tmp_path, "Title")
    assert build_differences(report).values["test"] == "DeLong’s test"  # noqa: PD011
    section = build(report)
    assert (section.tables["whole_patient_differences"].table["n"] == 30).all()
    assert section.text.endswith(f"p of an AUC: {swaps.name_test(30)}.")


def test_sections_that_take_nodes_for_patients_are_left_out(results, tmp_path):
    anchors = {section.anchor for section in build_sections(Report(results, tmp_path, "Title"))}
    assert {"models", "differences", "whole-patients", "sets", "roc"} <= anchors
    assert "calibration" in anchors
    assert not anchors & {"decisions", "subgroups", "sites", "readers", "costs", "prevalence"}


def test_the_page_says_that_it_counts_nodes(results, tmp_path):
    page = write_results(tmp_path, results, title="Nodes").read_text()
    assert "Of 60 nodes of 30 patients." in page
    assert "On 60 held-out nodes" in page
    assert "Obuchowski 1997" in page
    assert "60 nodes that every model predicted, from raw probabilities" in page
    assert "BCa bootstrap of whole patients" in page
    assert "bootstrap within classes" not in page
    assert "sizes and undecided ones count nodes" in page
    assert "every model predicted all 60 nodes" in page
    card = (tmp_path / "model_card.md").read_text()
    assert "60 nodes of 30 patients" in card
    undecided = pd.read_csv(tmp_path / "tables" / "undecided.csv")
    assert undecided.columns[:2].tolist() == ["patient_id", "node_id"]
