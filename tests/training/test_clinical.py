"""Models without pictures: the folds' rules, an independent oracle, and one message for every mistake."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tiny import build_cohort, fusionln, refused

from fusion_ln.cohort.clinical import check_encodable
from fusion_ln.cohort.folder import save_cohort
from fusion_ln.errors import CohortError, RunError
from fusion_ln.evaluation.swaps import name_test
from fusion_ln.predictions import (
    Predictions,
    predictions_from_logits,
    read_inner_predictions,
    read_predictions,
    write_predictions,
)
from fusion_ln.records.kinds import BaselineRecord, ClinicalRecord
from fusion_ln.records.origin import new_origin
from fusion_ln.report.run.reading import read_inputs
from fusion_ln.report.run.section import Report
from fusion_ln.report.run.sections.performance.clinical import build as build_section
from fusion_ln.runs import RunFolder
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.training.clinical import (
    PENALTIES,
    apply_logit_stack,
    choose_penalty,
    learn_logit_stack,
    run_beside,
    run_clinical,
    run_stacked,
)

N = 60


def with_columns(cohort):
    rng = np.random.default_rng(3)
    labels = cohort.patients["label"].to_numpy()
    return replace(
        cohort,
        patients=cohort.patients.assign(
            age=50.0 + 8 * labels + rng.normal(0, 8, N),
            smoking=np.where(rng.random(N) < 0.2 + 0.3 * labels, "yes", "no"),
            hilum=np.array(["absent", "thinned", "preserved"], dtype=object)[(labels + (rng.random(N) < 0.4)) % 3],
            flat=1.0,
            notes=[f"seen on day {number}" for number in range(N)],
            pathology=np.array(["reactive", "B cell", "squamous", "hyperplasia", "T cell", "papillary"])[
                np.arange(N) % 6
            ],
        ),
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    cohort = with_columns(build_cohort(tmp_path_factory.mktemp("clinical"), N, k=3))
    save_cohort(cohort)
    return cohort


@pytest.fixture(scope="module")
def runs(cohort, tmp_path_factory):
    """The models of age and hilum, and of chance."""
    return run_clinical(cohort, ["age", "hilum"], tmp_path_factory.mktemp("runs"))


def pictures_run(cohort, root, skill=1.5):
    """A finished baseline with made-up predictions: no network is needed."""
    rng = np.random.default_rng(0)
    labels = cohort.patients.set_index("patient_id")["label"]
    run = RunFolder(root)
    settings, place = BaselineSettings(modality="2d"), str(cohort.root)
    run.write_record(BaselineRecord(settings=settings, cohort=cohort.describe(), cohort_path=place, **new_origin()))

    def predict(patients, folds):
        logits = rng.normal(size=(len(patients), 3)) + skill * np.eye(3)[labels.loc[patients]]
        return predictions_from_logits(cohort.classes, patients, folds, labels.loc[patients].to_numpy(), logits)

    tables = []
    for fold in range(cohort.n_folds):
        inner = cohort.training_part(fold)[1]
        tables.append(predict(inner, np.full(len(inner), fold)).table)
    write_predictions(run.inner_predictions, Predictions(cohort.classes, pd.concat(tables)))
    write_predictions(run.predictions, predict(cohort.folds["patient_id"].tolist(), cohort.folds["fold"].to_numpy()))
    return run


def test_the_regression_is_that_of_scikit_learn_on_the_training_part(cohort, runs):
    clinical, _ = runs
    predictions, of_inner = read_predictions(clinical.predictions), read_inner_predictions(clinical.inner_predictions)
    patients = cohort.patients.set_index("patient_id")
    record = clinical.read_record()
    for fold in range(cohort.n_folds):
        training, inner = cohort.training_part(fold)
        prepare = make_column_transformer((StandardScaler(), ["age"]), (OneHotEncoder(sparse_output=False), ["hilum"]))
        values = prepare.fit_transform(patients.loc[training])
        [strength] = record.learnt[fold]["inverse_penalty"]
        oracle = LogisticRegression(C=strength, max_iter=10_000, tol=1e-6).fit(values, patients.loc[training, "label"])
        for table, part in ((predictions, cohort.held_out(fold)), (of_inner, inner)):
            rows = table.table[table.table["fold"] == fold].set_index("patient_id").loc[part]
            expected = oracle.predict_proba(prepare.transform(patients.loc[part]))
            np.testing.assert_allclose(rows.filter(like="prob_").to_numpy(), expected, atol=1e-4)


def test_the_penalty_is_chosen_on_nodes_of_other_patients(rng):
    values, labels = np.repeat(rng.normal(size=(30, 6)), 4, axis=0), np.repeat(np.arange(30) % 2, 4)  # noise
    owners = np.repeat(np.arange(30), 4)
    assert choose_penalty(values, labels, owners, 0) == min(PENALTIES)
    assert choose_penalty(values, labels, None, 0) > min(PENALTIES)  # a patient's other nodes tell the class
    rare = np.where(owners == 0, 2, labels)  # one patient's nodes: nothing is left to learn from
    assert choose_penalty(values, rare, owners, 0) == 1


def test_held_out_patients_serve_nothing_but_their_prediction(cohort, tmp_path):
    held_out = cohort.held_out(0)
    changed = cohort.patients.copy()
    of_fold = changed["patient_id"].isin(held_out)
    changed.loc[of_fold, "age"] = 1000.0
    runs = [
        run_clinical(each, ["age", "smoking"], tmp_path / name)[0]
        for name, each in (("a", cohort), ("b", replace(cohort, patients=changed)))
    ]
    first, second = (run.read_record().learnt[0] for run in runs)
    assert first == second
    inner = [read_inner_predictions(run.inner_predictions).table.query("fold == 0") for run in runs]
    pd.testing.assert_frame_equal(*inner)


def test_chance_gives_everyone_the_class_shares_of_the_training_part(cohort, runs):
    _, chance = runs
    table = read_predictions(chance.predictions).table
    labels = cohort.patients.set_index("patient_id")["label"]
    for fold in range(cohort.n_folds):
        shares = np.bincount(labels.loc[cohort.training_part(fold)[0]]) / len(cohort.training_part(fold)[0])
        found = table[table["fold"] == fold].filter(like="prob_").to_numpy()
        np.testing.assert_allclose(found, np.tile(shares, (len(found), 1)))


def test_a_missing_value_tells_nothing_and_is_said(cohort, tmp_path, capsys):
    gaps = cohort.patients.copy()
    gone = gaps["patient_id"].isin(cohort.held_out(0)[:2])
    gaps.loc[gone, "age"], gaps.loc[gone, "smoking"] = np.nan, None
    clinical, _ = run_clinical(replace(cohort, patients=gaps), ["age", "smoking"], tmp_path)
    rows = read_predictions(clinical.predictions).of(gaps.loc[gone, "patient_id"]).logits
    np.testing.assert_allclose(rows[0], rows[1])
    assert f"age: 2 of {N} patients have no value" in capsys.readouterr().err


def test_a_run_is_kept_and_another_one_is_refused(cohort, runs):
    first, _ = runs
    before = first.predictions.stat().st_mtime_ns
    run_clinical(cohort, ["age", "hilum", "age"], first.root.parent)
    assert first.predictions.stat().st_mtime_ns == before
    with pytest.raises(RunError, match="columns"):
        run_clinical(cohort, ["smoking"], first.root.parent)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("height", "no clinical column 'height'.*\n.*age, smoking"),
        ("label", "no clinical column 'label'"),
        ("flat", "constant"),
        ("notes", "text with 60 values"),
        ("pathology", "class under another name"),
    ],
)
def test_a_column_that_cannot_be_learnt_from_is_one_message(cohort, column, message):
    with pytest.raises(CohortError, match=message):
        check_encodable(cohort, ["age", column])


def test_stacking_learns_from_inner_patients_alone(cohort, runs, tmp_path):
    clinical, _ = runs
    pictures = pictures_run(cohort, tmp_path / "baseline-2d")
    stacked = run_stacked(cohort, pictures, clinical, RunFolder(tmp_path / "stacked"))
    record = stacked.read_record()
    assert isinstance(record, ClinicalRecord)
    assert record.members[0] == "../baseline-2d"
    members = [read_predictions(run.predictions) for run in (pictures, clinical)]
    inner = [read_inner_predictions(run.inner_predictions).table.query("fold == 1") for run in (pictures, clinical)]
    centred = [part.filter(like="logit_").to_numpy() for part in inner]
    logits = np.stack([each - each.mean(axis=1, keepdims=True) for each in centred], axis=1)
    weights, intercept = learn_logit_stack(logits, inner[0]["label"].to_numpy())
    assert record.learnt[1]["weights"] == pytest.approx(weights.tolist())
    out = read_predictions(stacked.predictions)
    of_fold = out.folds == 1
    expected = sum(w * (m.logits - m.logits.mean(axis=1, keepdims=True)) for w, m in zip(weights, members, strict=True))
    np.testing.assert_allclose(out.logits[of_fold], (expected + intercept)[of_fold])


def test_a_stack_is_the_least_penalised_loss_and_no_weight_is_negative(rng):
    labels = rng.integers(0, 3, 60)
    good, bad = 1.5 * np.eye(3)[labels] + rng.normal(size=(60, 3)), -np.eye(3)[labels] + rng.normal(size=(60, 3))
    logits = np.stack([good, bad], axis=1)
    weights, intercept = learn_logit_stack(logits, labels)

    def loss(w, b):
        log_probs = log_softmax(apply_logit_stack(logits, w, b), axis=1)
        return -log_probs[np.arange(60), labels].sum() + 0.5 * ((w - 1) ** 2).sum() + 0.5 * (b**2).sum()

    assert weights[1] == 0 < weights[0]
    for _ in range(50):
        step = rng.normal(size=5) * 0.05
        assert loss(np.maximum(weights + step[:2], 0), intercept + step[2:]) >= loss(weights, intercept) - 1e-6


def test_a_stack_takes_a_run_of_pictures_and_one_of_columns(cohort, runs, tmp_path):
    clinical, chance = runs
    with pytest.raises(RunError, match="a run without pictures"):
        run_stacked(cohort, chance, clinical, RunFolder(tmp_path / "stacked"))


def test_the_command_runs_all_three_and_names_findings_in_the_title(cohort, tmp_path, monkeypatch):
    pictures, reported = pictures_run(cohort, tmp_path / "baseline-2d"), []

    def write_runs(out, runs, cohort, heading):
        reported.append((out, [run.name for run in runs], heading.title))
        return {"Report": out / "report.html"}

    monkeypatch.setattr("fusion_ln.report.experiment.write_runs", write_runs)
    columns = ["--clinical", "age,hilum", "--with", pictures.root]
    fusionln("run", "baseline", "--cohort", cohort.root, *columns, "--out", tmp_path)
    [(out, names, title)] = reported
    assert out == tmp_path / "baseline-clinical"
    assert names == ["baseline-2d", "baseline-clinical", "baseline-chance", "baseline-2d-clinical"]
    assert title == "tiny: Clinical columns and reader's findings (age; hilum)"


def test_the_report_answers_what_the_pictures_add(cohort, runs, tmp_path):
    clinical, chance = runs
    pictures = pictures_run(cohort, tmp_path / "baseline-2d", skill=4.0)
    stacked = run_stacked(cohort, pictures, clinical, RunFolder(tmp_path / "baseline-2d-clinical"))
    results = read_inputs([run.root for run in (pictures, clinical, chance, stacked)], n_resamples=100)
    assert [model.what for model in results.models if model.is_clinical] == [
        "Clinical columns and reader's findings (age; hilum)",
        "Chance (class shares)",
        "Grey scale with clinical columns and reader's findings (age; hilum)",
    ]
    assert results.reference.name.endswith("baseline-2d")
    section = build_section(Report(results, tmp_path, "Title"))
    table = section.tables["without_pictures"].table
    assert table["question"].tolist() == [
        "pictures added to the columns",
        "pictures instead of the columns",
        "columns added to the pictures",
    ]
    assert table["ci_low"][0] > 0
    assert section.values["test"] == name_test(*table["patients"])  # noqa: PD011
    # Readers saw the hilum in pictures: that is not known without them.
    assert section.headline.startswith("The pictures add to columns with reader's findings.")
    assert section.title == "Beyond columns with reader's findings"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clinical", "age", "--epochs", "3"], "--epochs has no effect on --clinical"),
        (["--clinical", "age", "--modality", "2d"], "--modality has no effect on --clinical"),
        (["--clinical", "stage"], "no clinical column 'stage'"),
        ([], "Give --modality NAME or"),
    ],
)
def test_a_mistake_of_the_command_is_one_message(cohort, tmp_path, arguments, message):
    assert message in refused("run", "baseline", "--cohort", cohort.root, "--out", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_runs_of_pictures_with_one_name_are_refused_before_the_first_fit(make_cohort, tmp_path):
    cohort = make_cohort(12)
    cohort.patients["age"] = range(12)
    twice = [RunFolder(tmp_path / folder / "baseline-2d") for folder in "ab"]
    with pytest.raises(RunError, match=r"Two runs of pictures are called baseline-2d: .*baseline-2d-clinical"):
        run_beside(cohort, ["age"], twice, tmp_path / "out")
    with pytest.raises(RunError, match="no such folder"):
        run_beside(cohort, ["age"], twice[:1], tmp_path / "out")
    assert not (tmp_path / "out").exists()
