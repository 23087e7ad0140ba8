import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from fusion_ln.evaluation.roc import roc_band
from fusion_ln.files import write_parquet
from fusion_ln.report.run.checklists import AUTHOR, CLAIM, TRIPOD_AI, checklist
from fusion_ln.report.run.evidence import AFTER, BEFORE, Evidence
from fusion_ln.report.run.model_card import model_card
from fusion_ln.report.run.page import write_results
from fusion_ln.report.run.published import published_table
from fusion_ln.report.run.reading import read_results
from fusion_ln.report.run.results import Results


@pytest.fixture(scope="module")
def evidence(cohort, seven):
    return Evidence(read_results(seven, cohort))


def test_roc_curve_is_that_of_scikit_learn_and_its_band_holds_it(seven, cohort):
    predictions = read_results(seven, cohort).main.predictions
    band = roc_band(predictions, "lymphoma", n_resamples=200)
    x, y, _ = roc_curve(predictions.labels == 1, predictions.probs[:, 1], drop_intermediate=False)
    last = np.append(np.diff(x) > 0, True)  # the top of each upright part
    assert band["sensitivity"].to_numpy() == pytest.approx(np.interp(band["false_positive_rate"], x[last], y[last]))
    assert (band["ci_low"] <= band["sensitivity"] + 1e-9).all()
    assert (band["ci_high"] >= band["sensitivity"] - 1e-9).all()


def test_scaling_learns_from_inner_validation_and_leaves_the_predicted_class(evidence):
    for model in evidence.results.models:
        scaled, temperatures = evidence.scaled[model.name]
        assert (scaled.probs.argmax(axis=1) == model.predictions.probs.argmax(axis=1)).all()
        assert len(temperatures) == evidence.results.cohort.n_folds
    assert set(evidence.calibration["stage"]) == {BEFORE, AFTER}


def test_disagreements_are_those_counted_by_hand_widest_gap_first(evidence):
    a, b = evidence.results.headline
    said = [m.predictions.probs.argmax(axis=1) for m in (a, b)]
    table = evidence.disagreements
    assert len(table) == (said[0] != said[1]).sum() > 0
    assert table["gain"].abs().is_monotonic_decreasing


def test_no_table_holds_nan(evidence):
    results = evidence.results
    tables = [
        evidence.reliability, evidence.calibration, evidence.decisions, evidence.coverage, evidence.undecided,
        results.intervals, results.differences, evidence.disagreements,
    ]  # fmt: skip
    assert all(len(table) for table in tables)
    assert not any(table.isna().any().any() for table in tables)


def test_a_cohort_of_one_site_without_sex_and_age_has_no_subgroups(evidence):
    assert evidence.by_variable == {}
    assert evidence.subgroup_metrics.empty


def test_subgroups_are_scored_on_their_own_patients(cohort, seven):
    patients = cohort.patients.assign(site=np.where(np.arange(len(cohort.patients)) % 2, "a", "b"))
    cohort = replace(cohort, patients=patients)
    results = Results(cohort, read_results(seven, cohort).models)
    table = Evidence(results).subgroup_metrics
    row = table[(table["model"] == results.main.name) & (table["level"] == "a") & (table["metric"] == "auc_ovr")].iloc[
        0
    ]
    own = results.main.predictions.of(patients.loc[patients["site"] == "a", "patient_id"])
    assert row["value"] == pytest.approx(roc_auc_score(own.labels, own.probs, multi_class="ovr"))
    assert row["n"] == 15


def test_without_inner_predictions_calibration_is_left_out_with_the_reason(cohort, maker):
    run = maker.baseline("2d")
    run.inner_predictions.unlink()
    evidence = Evidence(read_results([run], cohort))
    assert evidence.calibration.empty
    assert "no inner validation predictions" in evidence.left_out["calibration"]


def test_subsets_of_the_pictures_are_read_from_the_run_and_scored(cohort, maker):
    for modality in ("2d", "cdfi"):
        maker.baseline(modality)
    run = maker.fusion()
    held = pd.read_parquet(run.predictions)
    parts = [held.assign(modalities=name) for name in ("2d+cdfi", "2d", "cdfi")]
    write_parquet(run.subset_predictions, pd.concat(parts))
    evidence = Evidence(read_results([*maker.baselines.values(), run], cohort))
    assert evidence.subsets["modalities"].drop_duplicates().tolist() == ["2d", "cdfi", "2d+cdfi"]
    auc = evidence.subsets.query("metric == 'auc_ovr'")["value"]
    assert auc.tolist() == pytest.approx([evidence.results.interval(evidence.results.main, "auc_ovr").value] * 3)


def test_the_papers_figures_stand_beside_ours_only_on_its_cohort(cohort, seven):
    results = read_results(seven, cohort)
    assert published_table(results).empty
    paper = Results(replace(cohort, source="cv4lymphnode"), results.models)
    table = published_table(paper)
    assert table["published,_other_protocol"].tolist() == [0.906, 0.896, 0.925, 0.792, 0.745, 0.657, 0.48]
    assert table["ours"].notna().all()


@pytest.mark.parametrize(("items", "count"), [(TRIPOD_AI, 52), (CLAIM, 42)])
def test_checklists_answer_what_the_run_knows_and_leave_the_rest_to_the_author(evidence, items, count):
    table = checklist(items, evidence, "Does fusing help?")
    assert len(table) == len(items) == count
    assert (table["answer"] == AUTHOR).sum() > 10
    answers = table.set_index("item")["answer"]
    assert answers["4"] == "Does fusing help?"
    assert "9 benign, 6 lymphoma, 15 metastatic" in table["answer"].tolist()


def test_the_model_card_has_metadata_and_says_simulated(cohort, seven, real):
    yaml = pytest.importorskip("yaml")
    results = read_results(seven, cohort)
    head, text = model_card(results).removeprefix("---\n").split("\n---\n", 1)
    metadata = yaml.safe_load(head)
    reported = {m["type"]: m["value"] for m in metadata["model-index"][0]["results"][0]["metrics"]}
    assert reported["roc_auc"] == pytest.approx(results.interval(results.main, "auc_ovr").value, abs=1e-4)
    assert "simulated" in metadata["tags"]
    assert "**Simulated.**" in text
    assert "imulated" not in model_card(read_results([real[1]], real[0]))


def test_a_page_with_everything_shows_every_section(cohort, seven, tmp_path):
    """Two sites, sex and age, subsets of the pictures, and the paper's cohort: one report draws them all."""
    n = len(cohort.patients)
    patients = cohort.patients.assign(
        site=np.where(np.arange(n) % 2, "a", "b"),
        sex=np.array(["female", "male", None], dtype=object)[np.arange(n) % 3],
        age=np.linspace(20, 80, n),
    )
    cohort = replace(cohort, patients=patients, source="cv4lymphnode", simulated=False)
    models = read_results(seven[2:4], cohort).models
    whole = models[-1]
    models = (*models[:-1], replace(whole, subsets={"2d": whole.predictions, "2d+cdfi": whole.predictions}))
    page = write_results(tmp_path, Results(cohort, models, n_resamples=200), title="All").read_text()
    for section in (
        "calibration",
        "decisions",
        "sets",
        "subgroups",
        "subsets",
        "published",
        "disagreements",
        "checklists",
    ):
        assert f'id="{section}"' in page
    assert "published, other protocol" in page
    assert "too few to score" in page  # the oldest of so few patients are of one class
    figures = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert {"auc_by_site", "auc_by_sex", "auc_by_age_band", "decision_curves", "reliability_lymphoma"} <= figures
    assert not re.search(r">nan<", page)
