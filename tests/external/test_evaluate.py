"""A model on another cohort: answered once, refused where it must not answer, and verifiable afterwards."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import CPU, FIT, OPTIONS, build_cohort, fusionln, refused, shortened

from fusion_ln.cohort.folder import load_cohort, save_cohort
from fusion_ln.errors import CohortError, ModelError, RunError, SettingsError, VerifyError
from fusion_ln.evaluation.external.figures import PointEstimate
from fusion_ln.evaluation.external.record import EvaluationRecord, read_record
from fusion_ln.evaluation.external.shift import FALSE_ALARMS
from fusion_ln.evaluation.intervals import metric_intervals
from fusion_ln.external.evaluate import evaluate
from fusion_ln.files.locks import LOCK
from fusion_ln.frozen.describe import describe_model
from fusion_ln.frozen.folder import LOG, ModelFolder
from fusion_ln.frozen.freeze import freeze
from fusion_ln.frozen.load import load_model
from fusion_ln.frozen.log import read_log
from fusion_ln.models.triplet import TripletModel
from fusion_ln.models.weights.network import Network
from fusion_ln.predict.predictor import load_predictor
from fusion_ln.predictions import Predictions
from fusion_ln.report.external import text
from fusion_ln.training.run import run_baselines
from fusion_ln.verify.verify import verify

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A cohort of sixty, a model of it frozen, and another cohort, of whom some lack the model's picture."""
    folder = tmp_path_factory.mktemp("study")
    own = build_cohort(folder, 60, name="own")
    run = run_baselines(own, ["2d"], FIT, folder / "runs", protocol="nested", seed=0, device=CPU)[0]
    with shortened():
        freeze(run, folder / "model", licence="MIT")
    other = build_cohort(folder, 63, name="other", seed=8, absent={1: {"2d"}, 2: {"cdfi"}})
    other = replace(other, patients=other.patients.assign(sex=["f", "m", "m"] * 21))
    save_cohort(other)
    return own, folder / "model", other


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Let the bands of the page be coarse."""
    monkeypatch.setattr("fusion_ln.report.external.sections.BAND_DRAWS", 20)


@pytest.fixture
def pageless(monkeypatch):
    """Leave the page away, which takes most of the time."""
    monkeypatch.setattr("fusion_ln.external.evaluate.write_evaluation", lambda out: out / "report.html")


@pytest.fixture
def model(study, tmp_path):
    """A copy of the model, whose log is the test's own."""
    shutil.copytree(study[1], tmp_path / "model")
    return tmp_path / "model"


def test_the_page_answers_the_endpoint_first_from_the_models_answers(study, model, tmp_path):
    other = study[2]
    (tmp_path / "p.toml").write_text('endpoint = "coverage"\nmargin = 0.05\nsubgroups = ["sex"]\n')
    done = evaluate(model, other, tmp_path / "out", protocol=tmp_path / "p.toml")
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    answers = load_predictor(model).predict_cohort(other)
    np.testing.assert_allclose(table.filter(like="prob_").to_numpy(), answers.probs)
    labels = other.patients.set_index("patient_id").loc[answers.patients, "label"].to_numpy()
    assert table["label"].tolist() == labels.tolist()
    rows = metric_intervals(Predictions(other.classes, table), n_resamples=2).set_index(["metric", "class"])
    held = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    expected = rows.loc[("auc_ovr", "all"), ["value", "ci_low", "ci_high"]].tolist()
    assert list(held["auc_ovr"].values()) == pytest.approx(expected)
    covered = answers.member[np.arange(62), labels]
    assert held["coverage"]["lymphoma"]["value"] == pytest.approx(covered[labels == 1].mean())
    assert {"slope", "intercept", "operating_points"} <= set(held)
    assert (held["cohort"]["patients"], held["cohort"]["predicted"]) == (63, 62)
    assert "1 patient has no picture" in text.describe(done.record, done.figures)[-1]
    assert done.record.cohort.unlike == answers.unlike.sum()
    assert set(done.record.model.auc) == {"mean", *other.classes}
    page = done.page.read_text()
    assert all(f'id="{name}"' in page for name in ("calibration", "points", "sets", "decisions", "differences"))
    assert 'class="verdict" style="margin-top:26px">The primary endpoint was met: coverage of the sets' in page
    kinds = pd.read_csv(tmp_path / "out" / "tables" / "shift.csv").groupby("kind")["p_corrected"].min()
    start = "The cohorts differ in" if (kinds < FALSE_ALARMS).any() else "No difference in"
    assert f'class="lead">{start}' in page
    assert text.describe(done.record, done.figures)[2].startswith(start)
    assert done.record.protocol.sha256 in page
    assert read_log(model)[0].protocol == done.record.protocol.sha256
    assert "By sex" in page
    assert "By site" not in page


def test_a_slope_that_cannot_be_fitted_is_not_laid_to_few_patients():
    """Probabilities alike for all, or a class told without an error, have an intercept and no slope."""
    none, some = PointEstimate(value=None, low=None, high=None), PointEstimate(value=1.0, low=0.9, high=1.1)
    figures = SimpleNamespace(slope={"a": none, "b": none, "c": some}, intercept={"a": some, "b": none, "c": some})
    found = text.calibration_in_words(figures)
    assert "probabilities of a give no slope" in found
    assert "Of b there are too few patients" in found


@pytest.mark.usefixtures("pageless")
def test_every_look_is_entered_and_a_second_one_is_said(study, model, tmp_path):
    digest = ModelFolder(model).check_digest()
    first = evaluate(model, study[2], tmp_path / "one")
    assert text.alarms(first.record) == []
    evaluate(model, study[2], tmp_path / "blind", label_free=True)
    second = evaluate(model, study[2], tmp_path / "two")
    assert "this model was evaluated on this cohort once before" in text.alarms(second.record)[0]
    assert [(entry.cohort, entry.labels) for entry in read_log(model)] == [
        ("other", True),
        ("other", False),
        ("other", True),
    ]
    assert read_log(model)[0].digest == digest == load_model(model).digest
    shown = describe_model(load_model(model))["evaluations"]
    assert [(entry["cohort"], entry["patients"], entry["labels"]) for entry in shown] == [
        ("other", 62, True),
        ("other", 62, False),
        ("other", 62, True),
    ]
    tables = [tmp_path / name / "predictions.parquet" for name in ("one", "two")]
    assert f"answers of the model {digest[:12]}" in refused("compare", *tables, "--out", tmp_path / "both")
    (model / LOG).write_text("{}")
    with pytest.raises(ModelError, match="no list of evaluations"):
        evaluate(model, study[2], tmp_path / "three")


@pytest.mark.usefixtures("pageless")
def test_an_evaluation_that_could_not_be_written_is_no_look(study, model, tmp_path, monkeypatch):
    def fail(*args):
        raise RunError("no space left on the device.", "Free some space.")

    for step in ("write_parquet", "write_record"):
        with monkeypatch.context() as patch:
            patch.setattr(f"fusion_ln.external.evaluate.{step}", fail)
            with pytest.raises(RunError, match="no space"):
                evaluate(model, study[2], tmp_path / "out", label_free=True)
        assert read_log(model) == []
    assert evaluate(model, study[2], tmp_path / "out", label_free=True).record.earlier == ()
    assert not (tmp_path / "out" / LOCK).exists()


@pytest.mark.usefixtures("pageless")
def test_an_evaluation_stopped_at_its_page_gets_it_and_stays_one_look(study, model, tmp_path, monkeypatch):
    out = tmp_path / "out"
    done = evaluate(model, study[2], out)
    held = (out / "evaluation.json").read_bytes()
    monkeypatch.setattr(
        "fusion_ln.external.evaluate.write_evaluation", lambda folder: (folder / "report.html").write_text("x")
    )
    for changes in ({"label_free": True}, {"cases": 8}):
        with pytest.raises(RunError, match="holds another evaluation, without its page"):
            evaluate(model, study[2], out, **changes)
    assert evaluate(model, study[2], out).record == done.record
    assert (out / "evaluation.json").read_bytes() == held
    assert len(read_log(model)) == 1
    with pytest.raises(RunError, match="stands as it is"):
        evaluate(model, study[2], out)


def test_a_log_that_cannot_be_written_is_refused_before_any_prediction(study, model, tmp_path, monkeypatch):
    def fail(**where):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fusion_ln.frozen.log.TemporaryFile", fail)
    monkeypatch.setattr("fusion_ln.predict.predictor.Predictor.predict_cohort", lambda *_: pytest.fail("predicted"))
    with pytest.raises(ModelError, match=r"model: cannot be written to \(Permission denied\)"):
        evaluate(model, study[2], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_label_free_does_not_look_at_a_label(study, model, tmp_path):
    """With other labels every file says the same, but the cohort's fingerprint."""
    other = study[2]
    turned = replace(other, patients=other.patients.assign(label=other.patients["label"].to_numpy()[::-1]))
    texts = []
    for name, cohort in (("one", other), ("two", turned)):
        evaluate(model, cohort, tmp_path / name, label_free=True)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file() and path.name != LOCK)
        texts.append([path.read_bytes().replace(cohort.fingerprint.encode(), b"") for path in files])
    assert texts[0] == texts[1]
    assert "label" not in pd.read_parquet(tmp_path / "one" / "predictions.parquet")
    record, figures = read_record(tmp_path / "one")
    assert not record.labels
    assert figures is None
    assert next(iter(verify(tmp_path / "one").agreeing.values())).startswith("62 predictions, ")


@pytest.mark.usefixtures("pageless")
def test_classes_are_joined_by_name(study, model, tmp_path):
    other = study[2]
    turned = replace(
        other, classes=other.classes[::-1], patients=other.patients.assign(label=2 - other.patients["label"])
    )
    found = [evaluate(model, cohort, tmp_path / cohort.classes[0]).figures for cohort in (other, turned)]
    assert found[0] == found[1]


@pytest.mark.usefixtures("pageless")
def test_recalibration_leaves_the_frozen_figures_as_they_were(study, model, tmp_path):
    plain = evaluate(model, study[2], tmp_path / "plain")
    with_cases = evaluate(model, study[2], tmp_path / "cases", cases=20, draws=3)
    assert with_cases.figures == plain.figures
    held = json.loads((tmp_path / "cases" / "recalibration.json").read_text())
    assert held["cases"] == 20
    assert "recalibrated" not in json.loads((tmp_path / "cases" / "evaluation.json").read_text())


def with_columns(cohort, **columns):
    return replace(cohort, patients=cohort.patients.assign(**columns))


def test_a_cohort_that_the_model_cannot_answer_for_is_refused(study, model, tmp_path):
    own, _, other = study
    doppler = replace(other, modalities=("cdfi",), images=other.images[other.images["modality"] == "cdfi"])
    cases = [
        (replace(other, classes=("benign", "malignant", "normal")), CohortError, "its classes are benign, malignant"),
        (with_columns(other, label=[0, *[1, 2] * 31]), CohortError, "1 patient of class 'benign'"),
        (doppler, RunError, "has pictures of cdfi alone"),
        (
            with_columns(other, patient_id=other.patients["patient_id"] + "::1"),
            CohortError,
            "takes one row per patient",
        ),
        (own, RunError, "trained on the patients"),
        (replace(other, classes=("unlabelled",), patients=other.patients.assign(label=0)), CohortError, "no labels"),
    ]
    for cohort, error, message in cases:
        with pytest.raises(error, match=message):
            evaluate(model, cohort, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert read_log(model) == []


def test_a_picture_of_the_models_own_cohort_is_refused_by_name(study, model, tmp_path):
    own, _, other = study
    shutil.copytree(other.root, tmp_path / "leaky")
    row = other.images[other.images["modality"] == "2d"].iloc[3]
    source = own.images[own.images["modality"] == "2d"].iloc[0]
    (tmp_path / "leaky" / row["path"]).write_bytes(own.picture_path(source["path"]).read_bytes())
    images = other.images.copy()
    images.loc[row.name, "sha256"] = source["sha256"]
    leaky = replace(other, root=tmp_path / "leaky", pictures=tmp_path / "leaky", images=images)
    with pytest.raises(RunError, match=rf"1 picture of other was used to train(.|\n)*{row['image_id']}: the same file"):
        evaluate(model, leaky, tmp_path / "out")


@pytest.mark.usefixtures("pageless")
def test_choices_that_do_not_fit_are_refused_before_anything_is_seen(study, model, tmp_path):
    other, protocol = study[2], tmp_path / "p.toml"
    for line, error, message in (
        ('endpoint = "auc:cyst"\nmargin = 0.8', SettingsError, "auc:cyst: unknown endpoint"),
        ('endpoint = "auc_ovr"\nmargin = 0.8\nsubgroups = ["sexx"]', CohortError, "Did you mean 'sex'"),
        ('endpoint = "auc_ovr"\nmargin = 0.8\nsubgroups = ["age_days"]', CohortError, "63 values"),
    ):
        protocol.write_text(line)
        with pytest.raises(error, match=message):
            evaluate(model, with_columns(other, age_days=np.linspace(1, 2, 63)), tmp_path / "out", protocol=protocol)
    with pytest.raises(SettingsError, match="from 3 to 32"):
        evaluate(model, other, tmp_path / "out", cases=60)
    with pytest.raises(RunError, match="holds a cohort"):
        evaluate(model, other, other.root)
    ModelFolder(model).record.write_text("{}")
    with pytest.raises(ModelError, match=r"model\.json was changed"):
        evaluate(model, other, tmp_path / "new")


def test_verify_recomputes_an_evaluation_and_names_what_was_edited(study, model, tmp_path):
    (tmp_path / "p.toml").write_text('endpoint = "auc_ovr"\nmargin = 0.2\n')
    out = tmp_path / "out"
    evaluate(model, study[2], out, protocol=tmp_path / "p.toml", cases=20, draws=3)
    agreeing = verify(out).agreeing
    assert next(iter(agreeing.values())).startswith(
        "62 predictions, figures of evaluation.json, endpoint, recalibration.json, "
    )
    held = (out / "evaluation.json").read_text()
    figures = json.loads(held)
    figures["auc_ovr"]["value"] += 0.001
    (out / "evaluation.json").write_text(json.dumps(figures))
    with pytest.raises(VerifyError, match=r"auc_ovr\.value"):
        verify(out)
    for entry, place in (("unlike", r"cohort\.unlike"), ("classes", r"cohort\.classes\.benign")):
        edited = json.loads(held)
        edited["cohort"][entry] = {"benign": 1} if entry == "classes" else 62
        (out / "evaluation.json").write_text(json.dumps(edited))
        with pytest.raises(VerifyError, match=place):
            verify(out)
    (out / "evaluation.json").write_text(held)
    page = out / "report.html"
    assert "Recalibrated on 20 local cases" in page.read_text()
    page.write_text(page.read_text().replace("endpoint was met", "endpoint is met"))
    with pytest.raises(VerifyError, match=r"report\.html"):
        verify(out)


def test_the_command_answers_and_refuses(study, model, tmp_path):
    other = study[2]
    out = fusionln("evaluate", model, "--cohort", other.root, "--out", tmp_path / "out", "--label-free")
    assert "no true class was looked at" in out
    assert "report.html" in out
    assert "looks at no true class" in refused(
        "evaluate", model, "--cohort", other.root, "--label-free", "--recalibrate", "20"
    )
    assert "is not a cohort" in refused("evaluate", model, "--cohort", tmp_path / "none")
    assert isinstance(read_record(tmp_path / "out")[0], EvaluationRecord)
    assert load_cohort(other.root).fingerprint == read_record(tmp_path / "out")[0].cohort.fingerprint


def test_patients_without_labels_are_imported_and_looked_at_label_free(study, model, tmp_path):
    """The table has no column of labels; whoever needs them is told so."""
    other = study[2]
    rows = other.images[other.images["modality"] == "2d"]
    table = pd.DataFrame({"patient_id": rows["patient_id"], "2d": [other.picture_path(path) for path in rows["path"]]})
    table.to_csv(other.root / "unlabelled.csv", index=False)
    out = tmp_path / "unlabelled"
    fusionln("cohort", "import", "table", other.root / "unlabelled.csv", "--classes", "unlabelled", "--out", out)
    record = evaluate(model, load_cohort(out), tmp_path / "free", label_free=True).record
    assert record.cohort.predicted == 62
    assert "its patients have no labels" in refused("evaluate", model, "--cohort", out, "--out", tmp_path / "no")
    assert "its patients have no labels" in refused("run", "baseline", "--modality", "2d", "--cohort", out, *OPTIONS)
    assert "not tested, its patients have no labels" in fusionln("cohort", "check", out)


def test_a_model_explains_its_answers_to_patients_it_has_not_seen(study, model, tmp_path):
    own, _, other = study
    out, picks = tmp_path / "maps", other.patients_with("2d")[:2]
    methods = ("--method", "ig,occlusion")
    fusionln("explain", model, "--cohort", other.root, "--patients", ",".join(picks), *methods, "--out", out)
    answers = load_predictor(model).predict_cohort(other)
    table = pd.read_csv(out / "answers.csv").set_index("patient_id")
    rows = np.flatnonzero(np.isin(answers.patients, picks))
    np.testing.assert_allclose(table.loc[picks].filter(like="prob_").to_numpy(), answers.probs[rows])
    for width, height in (Image.open(out / f"{patient}.png").size for patient in picks):
        assert width >= 110 + 3 * 200  # wider where a text is
        assert height == 66 + 200 + 22
    for arguments, problem in {
        (): "name the cohort",
        ("--cohort", own.root): "used to train",
        ("--cohort", other.root, "--errors"): "belong to a run",
        ("--cohort", other.root, "--patients", "P001"): "has no picture in cohort other that the model takes",
        ("--cohort", other.root, "--method", "attention"): "do not allow it",
    }.items():
        assert problem in refused("explain", model, *arguments, "--out", tmp_path / "no")


def test_a_cohort_whose_set_the_weights_learnt_from_is_warned_of(study, model, tmp_path, monkeypatch, capsys, pageless):
    network = Network(
        backbone="x", mean=(0, 0, 0), std=(1, 1, 1), preset="usf-mae", trained_on="sets", sources=("test",)
    )
    monkeypatch.setattr(TripletModel, "networks", property(lambda model: [network]))
    evaluate(model, study[2], tmp_path / "out")
    assert "usf-mae learnt from sets: among them is test, the source of other" in capsys.readouterr().err
