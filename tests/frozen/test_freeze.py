"""Frozen models: they answer as their run does, hold no patient, and do not change unseen."""

import fcntl
import json
import shutil
from functools import partial

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from tiny import (
    CPU,
    FIT_TWICE,
    HEAD,
    ONE_CPU,
    build_cohort,
    draw_few,
    fusionln,
    leave_blank,
    refused,
    write_explanation,
)

from fusion_ln.bench.record import measure
from fusion_ln.cohort.folder import load_cohort, save_cohort
from fusion_ln.errors import ModelError, PredictionsError, RunError
from fusion_ln.evaluation.probabilities.ensemble import calibrate_mean
from fusion_ln.files.formats import write_json, write_text
from fusion_ln.files.locks import LOCK
from fusion_ln.frozen.card import render_card, render_facts
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.freeze import freeze
from fusion_ln.frozen.load import load_model
from fusion_ln.models.backbones import create_backbone
from fusion_ln.models.checkpoint import save_tensors
from fusion_ln.models.weights.network import Network, metadata_of
from fusion_ln.predict.predictor import Predictor, load_predictor
from fusion_ln.predict.present import as_json, as_table
from fusion_ln.predictions import (
    Predictions,
    read_inner_predictions,
    read_predictions,
    read_subset_predictions,
)
from fusion_ln.runs import RunFolder
from fusion_ln.training.run import run_baselines_and_fusions

FUSIONS = {"late-stacked": None, "concat": HEAD.model_copy(update={"head": "concat"})}


@pytest.fixture(autouse=True, scope="module")
def pages_without_figures():
    """The comparison reports have all sections, but the tests of the report draw them."""
    with pytest.MonkeyPatch.context() as patch:
        leave_blank(patch)
        draw_few(patch)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A cohort in which one patient lacks a modality, a baseline of each, a late fusion and a trained head."""
    folder = tmp_path_factory.mktemp("study")
    cohort = build_cohort(folder, 24, absent={3: {"cdfi"}})
    runs = run_baselines_and_fusions(
        cohort, list(cohort.modalities), FUSIONS, FIT_TWICE, folder / "runs", protocol="nested", seed=0, device=CPU
    )
    return cohort, {run.name: run for run in runs}


@pytest.fixture(scope="module")
def models(study, tmp_path_factory):
    """The same runs, frozen."""
    folder, frozen = tmp_path_factory.mktemp("models"), {}
    for name in ("baseline-2d", "fusion-late-stacked", "fusion-concat"):
        frozen[name] = ModelFolder(folder / name)
        fusionln("freeze", study[1][name].root, "--out", frozen[name].root, "--licence", "CC-BY-4.0")
    return frozen


@pytest.fixture(scope="module")
def refits(study, tmp_path_factory):
    """The same runs, refitted."""
    folder = tmp_path_factory.mktemp("refits")
    names = ("baseline-2d", "fusion-late-stacked", "fusion-concat")
    for name in names:
        fusionln("freeze", study[1][name].root, "--as", "refit", "--out", folder / name, "--licence", "MIT", *ONE_CPU)
    return {name: ModelFolder(folder / name) for name in names}


@pytest.mark.slow
def test_the_speed_of_a_run_has_a_row_per_task_and_engine(study, tmp_path, monkeypatch):
    monkeypatch.setattr("fusion_ln.bench.answers.measure", partial(measure, rounds=1))
    out = tmp_path / "speed.json"
    fusionln("bench", "predict", study[1]["baseline-2d"].root, "--patients", 60, "--out", out)
    figures = json.loads(out.read_text())["figures"]
    tasks = [figure["task"] for figure in figures]
    for task in ("loading", "one patient", "a patient of 60"):
        assert f"{task}, torch" in tasks
    assert all(figure["seconds"] > 0 and figure["floor_seconds"] > 0 for figure in figures)


def test_a_refit_trains_for_the_median_of_the_best_epochs(study, refits):
    history = pd.read_parquet(study[1]["baseline-2d"].history)
    best = [part["epoch"].iloc[part["val_loss"].to_numpy().argmin()] + 1 for _, part in history.groupby("fold")]
    assert refits["baseline-2d"].read_record().epochs == {"2d": max(best)}  # of two, the greater one
    assert set(refits["fusion-concat"].read_record().epochs) == {"2d", "cdfi", "elastic", "head"}
    assert study[0].training_part(study[0].n_folds) == (study[0].folds["patient_id"].tolist(), [])


def test_a_refit_is_one_model_with_thresholds_of_out_of_fold_patients(study, refits, make_cohort):
    cohort = make_cohort(9, name="new", absent={1: {"2d"}}, seed=8)
    for name, model in refits.items():
        loaded = load_model(model.root)
        held_out = read_predictions(study[1][name].predictions)
        empty = Predictions(held_out.classes, held_out.table.iloc[:0])
        assert loaded.record.pooled.slope == pytest.approx(calibrate_mean(held_out, empty, 1).slope)
        answers = Predictor(loaded).predict_cohort(cohort)
        part = answers.present.all(axis=1)
        out = held_out if name == "baseline-2d" else subset_of(study[1][name], "2d+cdfi+elastic")
        for label in range(3):
            own = 1 - out.probs[out.labels == label][:, label]
            at_least = (own[:, None] >= 1 - answers.raw[part][:, label]).sum(axis=0)
            np.testing.assert_array_equal(answers.member[part][:, label], (at_least + 1) / (len(own) + 1) > 0.1)


def subset_of(run, name):
    return read_subset_predictions(run.subset_predictions)[name]


def test_a_finished_refit_is_kept(study, refits, tmp_path, monkeypatch):
    assert not list(study[1]["fusion-concat"].fold(study[0].n_folds).rglob("*.ckpt"))
    monkeypatch.setattr("fusion_ln.training.fit.train_epoch", lambda *inputs: pytest.fail("it trains again"))
    digest = freeze(study[1]["fusion-concat"], tmp_path / "again", licence="MIT", answer="refit", device=CPU)
    assert digest == refits["fusion-concat"].check_digest()


def test_a_model_answers_as_its_run_does(study, models, make_cohort):
    cohort = make_cohort(9, name="new", absent={1: {"2d"}, 2: {"cdfi", "elastic"}}, seed=8)
    for name, model in models.items():
        before, after = (load_predictor(root).predict_cohort(cohort) for root in (study[1][name].root, model.root))
        np.testing.assert_array_equal(after.probs, before.probs)
        np.testing.assert_array_equal(after.member, before.member)
        np.testing.assert_allclose(after.probs.sum(axis=1), 1)


def test_a_stacked_fusion_is_calibrated_by_out_of_fold_predictions_alone(study):
    """It was fitted to the inner validation patients: what they would teach makes it too sure."""
    run = study[1]["fusion-late-stacked"]
    out = read_predictions(run.predictions)
    expected = calibrate_mean(out, Predictions(out.classes, out.table.iloc[:0]), 2)
    found = load_model(run.root).record.pooled.restore()
    assert found.slope == pytest.approx(expected.slope, rel=1e-6)
    np.testing.assert_allclose(found.offsets, expected.offsets, atol=1e-6)


def test_options_without_an_effect_are_refused(study, models, tmp_path):
    model, run = models["baseline-2d"].root, study[1]["baseline-2d"].root
    assert "needs no cohort" in refused("verify", model, "--cohort", study[0].root)
    command = ("freeze", run, "--out", tmp_path / "m", "--licence", "MIT", "--workers", "1")
    assert "belong to --as refit" in refused(*command)


def test_contributions_sum_to_the_probability_beyond_the_classs_share(study, models, make_cohort):
    answers = load_predictor(models["fusion-concat"].root).predict_cohort(make_cohort(9, name="new", seed=8))
    likeliest = answers.probs.argmax(axis=1)
    labels = read_predictions(study[1]["fusion-concat"].predictions).labels
    shares = np.bincount(labels, minlength=3) / len(labels)
    expected = answers.probs[np.arange(9), likeliest] - shares[likeliest]
    np.testing.assert_allclose(answers.contributions.sum(axis=1), expected)


def test_an_absent_modality_adds_nothing(models, make_cohort):
    cohort = make_cohort(9, name="new", absent={2: {"cdfi"}}, seed=8)
    answers = load_predictor(models["fusion-concat"].root).predict_cohort(cohort)
    assert answers.contributions[2, 1] == 0
    assert np.abs(answers.contributions[[0, 1]]).min() > 0


def test_the_folder_holds_no_patient_picture_or_place(study, models):
    cohort, _ = study
    patients = [patient.encode() for patient in cohort.patients["patient_id"]]
    names = [name.encode() for name in cohort.images["image_id"]]
    for model in models.values():
        assert not {"predictions.parquet", "run.json"} & {path.name for path in model.root.rglob("*")}
        for file in model.root.rglob("*"):
            content = file.read_bytes() if file.is_file() else b""
            assert not any(word in content for word in [*patients, *names, str(cohort.root.parent).encode()]), file
            assert not content.startswith((b"\x89PNG", b"\xff\xd8"))
        hashes = pd.read_parquet(model.pictures)
        assert set(hashes) == {"modality", "source", "sha256", "perceptual_hash", "content_hash"}
        assert all(part["sha256"].is_monotonic_increasing for _, part in hashes.groupby("modality"))
        scores = pd.read_parquet(model.scores)
        assert set(scores) == {"modalities", "fold", "label", "score"}
        assert all(part["score"].is_monotonic_increasing for _, part in scores.groupby(["modalities", "fold", "label"]))


def test_a_model_has_the_comparison_report_of_its_study(models, refits):
    for folders, made in ((models, "the mean of these models"), (refits, "trained once more on all patients")):
        pages = {name: model.report.read_text() for name, model in folders.items()}
        assert all(made in page for page in pages.values())
        assert ["The fusion minus each modality alone" in page for page in pages.values()] == [False, True, True]
    assert '"report.html"' in models["fusion-concat"].digest_file.read_text()
    assert "as it was frozen; its predictions" in fusionln("verify", models["fusion-concat"].root)


def test_a_study_of_too_few_for_a_comparison_leaves_without_one(study, tmp_path, monkeypatch, capsys):
    def refuse(*given):
        raise PredictionsError("Too few.", "Add patients.")

    monkeypatch.setattr("fusion_ln.frozen.comparison.read_results", refuse)
    model = ModelFolder(tmp_path / "model")
    freeze(study[1]["baseline-2d"], model.root, licence="MIT")
    assert "Too few. So the model has no comparison report. Add patients." in capsys.readouterr().err
    assert not model.report.exists()
    assert model.report.name not in fusionln("verify", model.root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.network("2d", 0).write_bytes(b"x"), r"weights/2d-0\.safetensors was changed"),
        (lambda model: model.scores.unlink(), r"scores\.parquet is missing"),
        (lambda model: (model.root / "more.txt").write_text("x"), r"more\.txt was added since(.|\n)*Remove it"),
        (lambda model: model.digest_file.write_text('{"digest": "0", "files": {}}'), "does not fit its list"),
        (lambda model: model.digest_file.unlink(), "holds no digest"),
        (lambda model: model.record.write_text('{"format": 9}'), r"model\.json was changed"),
    ],
)
def test_a_folder_that_was_edited_is_refused(models, tmp_path, change, message):
    model = ModelFolder(tmp_path / "model")
    shutil.copytree(models["baseline-2d"].root, model.root)
    change(model)
    with pytest.raises(ModelError, match=message):
        load_model(model.root)


def test_what_a_checkout_of_a_hub_adds_is_no_edit(models, tmp_path):
    model = ModelFolder(tmp_path / "model")
    shutil.copytree(models["baseline-2d"].root, model.root)
    digest = model.check_digest()
    for name in ("README.md", ".gitattributes", ".git/config"):
        write_text(model.root / name, "x")
    assert load_model(model.root).digest == digest
    write_text(model.root / "weights" / "README.md", "x")  # only at the top
    with pytest.raises(ModelError, match=r"weights/README\.md was added"):
        load_model(model.root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modalities": {"2d": 32}}, r"model\.json: .*of other modalities than 2d"),
        ({"modalities": {"2d": 48, "cdfi": 32, "elastic": 32}}, r"2d-0\.safetensors: picture size 32, but .* says 48"),
        ({"classes": ["a", "b"]}, "not of 2 classes"),
        ({"classes": ["a", "b", "c"]}, r"2d-0\.safetensors: classes"),
        ({"late_head": "late-mode"}, "late-mode is no late head"),
        ({"learnt": []}, "learnt: 0 of 2 models"),
    ],
)
def test_a_forged_description_is_refused(models, tmp_path, change, message):
    """Also where the digest was forged with it."""
    model = ModelFolder(tmp_path / "model")
    shutil.copytree(models["fusion-late-stacked"].root, model.root)
    model.record.write_text(json.dumps(json.loads(model.record.read_text()) | change))
    model.write_digest()
    with pytest.raises(ModelError, match=message):
        load_model(model.root)


@pytest.mark.parametrize("change", [lambda scores: scores[:0], lambda scores: scores.assign(label=3)])
def test_forged_scores_are_refused(models, tmp_path, change):
    model = ModelFolder(tmp_path / "model")
    shutil.copytree(models["baseline-2d"].root, model.root)
    change(pd.read_parquet(model.scores)).to_parquet(model.scores, index=False)
    model.write_digest()
    with pytest.raises(ModelError, match=r"scores\.parquet: "):
        load_model(model.root)


@pytest.mark.parametrize("licence", ["", "  ", "a\nb", "x" * 201])
def test_what_is_no_name_of_a_licence_is_refused_before_anything_is_read(tmp_path, licence):
    with pytest.raises(ModelError, match="not the name of a licence"):
        freeze(RunFolder(tmp_path / "no run"), tmp_path / "out", licence=licence)


def test_a_freezing_holds_the_lock_of_its_folder_while_it_works(study, tmp_path, monkeypatch):
    """So the same command given twice at once waits, and says for whom."""
    out = tmp_path / "out"

    def look(run):
        with (out / LOCK).open("a") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise RunError("seen", "")

    monkeypatch.setattr("fusion_ln.frozen.freeze.load_run", look)
    with pytest.raises(RunError, match="seen"):
        freeze(study[1]["baseline-2d"], out, licence="MIT")
    assert not out.exists()


def test_answers_never_overwrite_what_is_read_nor_each_other(models, tmp_path):
    model, picture, costs = models["baseline-2d"].root, tmp_path / "a.png", tmp_path / "costs.csv"
    one = ("predict", model, "--2d", picture, "--costs", costs)
    assert "which must stay as it is" in refused(*one, "--json", model / "a.json")
    assert "a.png: is read" in refused(*one, "--csv", tmp_path / "." / "a.png")
    assert "costs.csv: is read" in refused(*one, "--csv", costs)
    assert "is the place of --csv" in refused(*one, "--csv", tmp_path / "a", "--json", tmp_path / "a")


@pytest.mark.parametrize("added", [0, 3])
def test_a_training_picture_is_predicted_with_a_warning(study, models, tmp_path, added):
    cohort, runs = study
    source = cohort.picture_path(cohort.images_of("2d")["path"].iloc[0])
    if added:  # a copy that is a little brighter
        brighter = np.asarray(Image.open(source)).astype(int) + added
        Image.fromarray(brighter.clip(0, 255).astype(np.uint8)).save(source := tmp_path / "copy.png")
    warning = f"{source}: {models['baseline-2d'].root} was trained on it"
    assert warning in fusionln("predict", models["baseline-2d"].root, "--2d", source)
    if not added:
        assert "was trained on it (the same file)" in fusionln("predict", runs["baseline-2d"].root, "--2d", source)
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(new := tmp_path / "new.png")
    assert "was trained on it" not in fusionln("predict", models["baseline-2d"].root, "--2d", new)


def test_training_pictures_are_refused_without_the_cohort(study, models, make_cohort):
    """The hashes are enough: the study's folder is not looked at."""
    cohort, _ = study
    predictor = load_predictor(models["fusion-late-stacked"].root)
    assert isinstance(predictor, Predictor)
    other = make_cohort(9, name="other", seed=11)
    other.picture_path(other.images["path"][3]).write_bytes(cohort.picture_path(cohort.images["path"][0]).read_bytes())
    other.images.loc[3, "sha256"] = cohort.images["sha256"][0]
    save_cohort(other)
    assert "1 picture of other was used to train" in refused(
        "predict", models["fusion-late-stacked"].root, "--cohort", load_cohort(other.root).root
    )


def test_pictures_unlike_those_of_the_study_are_flagged(models, make_cohort, tmp_path, capsys):
    new = make_cohort(9, name="new", seed=8)
    for name in ("baseline-2d", "fusion-concat"):
        predictor = load_predictor(models[name].root)
        Image.fromarray((np.indices((36, 40)).sum(axis=0) % 2 * 255).astype(np.uint8)).save(tmp_path / "squares.png")
        near, far = predictor.predict_cohort(new), predictor.predict_pictures({"2d": tmp_path / "squares.png"})
        assert far.unlike.all()
        assert np.median(near.distance) < 1 < far.distance.min() / 2
        assert "1 of 1 patients have a picture unlike" in capsys.readouterr().err
        assert as_json(predictor, far)[0]["unlike"] is True
        assert as_table(predictor, far)["unlike"].tolist() == ["yes"]


def test_the_card_is_read_by_the_hub_and_names_licence_and_figures(study, models, refits):
    hub = pytest.importorskip("huggingface_hub")
    for folder in (models["fusion-concat"], refits["fusion-concat"]):
        card, record = hub.ModelCard.load(folder.card), folder.read_record()
        assert card.data.license_name == record.licence
        held_out = read_predictions(study[1]["fusion-concat"].predictions)
        inner = read_inner_predictions(study[1]["fusion-concat"].inner_predictions)
        if record.answer == "refit":
            inner = Predictions(inner.classes, inner.table.iloc[:0])
        probs = calibrate_mean(held_out, inner, 1).apply(held_out.probs)
        expected = [roc_auc_score(held_out.labels == c, probs[:, c]) for c in range(3)]
        found = [result.metric_value for result in card.data.eval_results]
        np.testing.assert_allclose(found, [*expected, np.mean(expected)], atol=1e-4)
        assert ("approximate" in card.text) == (record.answer == "refit")
        assert "8 benign, 8 lymphoma, 8 metastatic" in folder.facts.read_text(encoding="utf-8")


def test_a_model_of_the_paper_protocol_warns_on_every_page(models):
    model = models["baseline-2d"]
    record, scores = model.read_record(), load_model(model.root).scores[""]
    paper = record.model_copy(update={"study": record.study.model_copy(update={"protocol": "paper"})})
    for render in (render_card, render_facts):
        assert "every figure of it is too good" in render(paper, scores)
        assert "every figure of it is too good" not in render(record, scores)


def test_a_model_is_verified_to_the_figures_of_its_card(models, tmp_path):
    output = fusionln("verify", models["fusion-concat"].root)
    assert models["fusion-concat"].check_digest() in output
    model = ModelFolder(tmp_path / "model")
    for file, old, new in (("facts.html", "of 8 (", "of 9 ("), ("model.json", '"benign": 8', '"benign": 7')):
        shutil.copytree(models["baseline-2d"].root, model.root)
        path = model.root / file
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        assert f"{file} was changed" in refused("verify", model.root)
        model.write_digest()  # as one who edits the folder with care
        assert file in refused("verify", model.root)
        shutil.rmtree(model.root)


def test_a_card_that_is_no_text_is_refused_though_its_digest_fits(models, tmp_path):
    model = ModelFolder(tmp_path / "model")
    shutil.copytree(models["baseline-2d"].root, model.root)
    model.card.write_bytes(b"\xff\x00")
    model.write_digest()
    for command in (("verify", model.root), ("export", model.root, "--hub", tmp_path / "hub")):
        assert "cannot be read as text" in refused(*command)


def test_a_head_on_pretrained_tokens_leaves_with_their_networks(make_cohort, tmp_path, capsys):
    """And so do the normalisation and the origin that the weights brought along."""
    cohort, weights = make_cohort(12), tmp_path / "weights.safetensors"
    network = Network(
        backbone="test_resnet", mean=(0.1, 0.1, 0.1), std=(0.2, 0.2, 0.2), preset="made",
        trained_on="a test's pictures",
        licence="MIT", sources=("test",),
    )  # fmt: skip
    save_tensors(weights, create_backbone("test_resnet", image_size=32).body.state_dict(), metadata_of(network))
    fit = FIT_TWICE.model_copy(update={"weights": str(weights), "epochs": 1})
    heads = {"concat": FUSIONS["concat"].model_copy(update={"tokens": "pretrained"})}
    run = run_baselines_and_fusions(
        cohort, ["2d", "cdfi"], heads, fit, tmp_path / "runs", protocol="nested", seed=0, device=CPU
    )[-1]
    new = make_cohort(9, name="new", seed=8)
    expected = load_predictor(run.root).predict_cohort(new)
    freeze(run, tmp_path / "model", licence="MIT")
    weights.unlink()
    predictor = load_predictor(tmp_path / "model")
    np.testing.assert_array_equal(predictor.predict_cohort(new).probs, expected.probs)
    model = predictor.model.models[0]
    for backbone in (*model.sources.values(), *(member.backbone for member in model.members.values())):
        assert backbone.mean.flatten().tolist() == pytest.approx([0.1] * 3)
    assert predictor.model.record.study.weights == ("made (MIT), which learnt from a test's pictures",)
    assert "made learnt from a test's pictures: among them is test, the source of tiny" in capsys.readouterr().err


def test_a_model_names_the_maps_that_its_study_trusts_most(study, make_cohort, tmp_path):
    run, model = RunFolder(tmp_path / "run"), ModelFolder(tmp_path / "model")
    shutil.copytree(study[1]["baseline-2d"].root, run.root)
    write_explanation(run, {"ig": [(0.9, 0.5)], "occlusion": [(0.8, 0.6)], "random": [(0.5, 0.4)]})
    fusionln("freeze", run.root, "--cohort", study[0].root, "--out", model.root, "--licence", "MIT")
    said = "Its study trusts the maps of IG most"
    assert said in model.card.read_text(encoding="utf-8")
    assert "P0" not in model.record.read_text(encoding="utf-8")
    fusionln("verify", model.root)
    new = ("--cohort", make_cohort(9, name="new", seed=8).root, "--patients", "P001", "--method", "occlusion,ig")
    assert said in fusionln("explain", model.root, *new, "--out", tmp_path / "maps")

    record = json.loads(model.record.read_text(encoding="utf-8"))
    assert record.pop("map_tests")["method"] == "ig"
    write_json(model.record, record)  # as an earlier version wrote it
    model.write_digest()
    assert load_model(model.root).record.map_tests is None

    shutil.rmtree(model.root)
    run.explanation.maps("ig", "P0").unlink()
    said = fusionln("freeze", run.root, "--cohort", study[0].root, "--out", model.root, "--licence", "MIT")
    assert "does not name the map that its study trusts most" in said
    assert model.read_record().map_tests is None


def test_a_second_freezing_into_one_folder_and_a_foreign_one_are_refused(study, models, tmp_path):
    run = study[1]["baseline-2d"].root
    assert "holds a model already" in refused("freeze", run, "--out", models["baseline-2d"].root, "--licence", "MIT")
    (tmp_path / "letter.txt").write_text("dear")
    assert "not empty and not a model" in refused("freeze", run, "--out", tmp_path, "--licence", "MIT")


def test_a_refit_explains_its_answers_and_an_edited_model_none(refits, make_cohort, tmp_path):
    new, out, model = make_cohort(9, name="new", seed=8), tmp_path / "maps", refits["fusion-concat"].root
    command = ("--cohort", new.root, "--patients", "P001", "--method", "ig")
    assert "Maps:" in fusionln("explain", model, *command, "--out", out)
    answers = load_predictor(model).predict_cohort(new)
    table = pd.read_csv(out / "answers.csv").filter(like="prob_")
    np.testing.assert_allclose(table.to_numpy(), answers.probs[answers.patients == "P001"])
    assert (out / "P001.png").is_file()
    shutil.copytree(model, edited := tmp_path / "edited")
    (edited / "facts.html").write_text("x")
    assert "facts.html was changed" in refused("explain", edited, *command, "--out", tmp_path / "no")
    assert "holds something else" in refused("explain", model, *command, "--out", edited)


def test_the_json_of_an_answer_names_the_model_by_its_digest(models, make_cohort, tmp_path):
    cohort = make_cohort(9, name="new", seed=8)
    pictures = cohort.images.set_index(["patient_id", "modality"])["path"]
    chosen = [f"--{modality}={cohort.picture_path(pictures['P001', modality])}" for modality in ("2d", "elastic")]
    costs = ("--costs", "lymphoma:benign=200")
    fusionln("predict", models["fusion-concat"].root, *chosen, *costs, "--json", tmp_path / "one.json")
    answer = json.loads((tmp_path / "one.json").read_text())
    assert answer["decision"] in answer["probabilities"]
    assert answer["expected_cost"] >= 0
    assert answer["model"]["digest"] == models["fusion-concat"].check_digest()
    assert answer["modalities"] == ["2d", "elastic"] == list(answer["contributions"])
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert set(answer["set"]) <= set(answer["probabilities"])
    fusionln("predict", models["fusion-concat"].root, "--cohort", cohort.root, "--json", tmp_path / "all.json")
    every = {each["patient_id"]: each for each in json.loads((tmp_path / "all.json").read_text())}
    assert len(every) == 9
    assert {each["engine"]["name"] for each in every.values()} == {"torch"}  # of these networks, it is the faster


def test_the_model_keeps_the_profile_of_its_cohort(study, models):
    cohort, _ = study
    profile = models["fusion-concat"].read_record().study.profile
    assert profile.patients == len(cohort.patients)
    assert profile.presence == {"2d+cdfi+elastic": 23, "2d+elastic": 1}
    assert profile.pictures["cdfi"]["brightness"].n == 23
