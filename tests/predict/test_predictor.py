import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from cines import draw_cine, write_animation
from PIL import Image
from scipy.special import log_softmax, softmax
from tiny import CPU, build_cohort, encode_noise, fusionln, refused, write_cohort
from tiny import FIT_TWICE as FIT

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import save_cohort
from fusion_ln.cohort.folds import draw_folds
from fusion_ln.decode.cine import open_cine
from fusion_ln.errors import CohortError, ModelError, PictureError, RunError, SettingsError
from fusion_ln.evaluation.probabilities.ensemble import calibrate_mean
from fusion_ln.files.hashes import hash_file
from fusion_ln.frozen.freeze import freeze
from fusion_ln.models.triplet import TripletModel
from fusion_ln.predict.predictor import load_predictor
from fusion_ln.predict.present import as_table
from fusion_ln.predictions import read_inner_predictions, read_predictions
from fusion_ln.records.parts import Preparation
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.training.fusion.head_job import train_heads
from fusion_ln.training.run import run_baselines, run_fusions


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A cohort, its three baselines and two late fusions; a test that changes a file works on a `copy_of` them."""
    folder = tmp_path_factory.mktemp("runs")
    cohort = build_cohort(folder)
    baselines = run_baselines(cohort, list(cohort.modalities), FIT, folder, protocol="nested", seed=0, device=CPU)
    heads = {"late-mean": None, "late-stacked": None}
    return cohort, baselines, run_fusions(cohort, baselines, heads, folder, seed=0, device=CPU)


def copy_of(runs, folder):
    """The baselines and fusions in another folder."""
    for run in [*runs[1], *runs[2]]:
        shutil.copytree(run.root, folder / run.name)
    return tuple([RunFolder(folder / run.name) for run in group] for group in runs[1:])


def pictures_of(cohort, patient):
    rows = cohort.images[cohort.images["patient_id"] == patient]
    return {row.modality: cohort.picture_path(row.path) for row in rows.itertuples()}


def of_fold(predictor, fold):
    """The same run as if it had this fold alone."""
    return replace(predictor, model=replace(predictor.model, models=predictor.model.models[fold : fold + 1]))


def probs(answers, patient=None):
    """Probabilities before calibration, of all patients or of one."""
    return answers.raw if patient is None else answers.raw[answers.patients == patient]


def used(predictor, answers):
    return as_table(predictor, answers)["modalities"].tolist()


def test_answers_are_the_calibrated_mean(runs):
    """By the map that is learnt from whom one, and whom more, of the models did not see."""
    cohort, baselines, _ = runs
    run, predictor = baselines[0], load_predictor(baselines[0].root)
    held_out, inner = read_predictions(run.predictions), read_inner_predictions(run.inner_predictions)
    answers = predictor.predict_pictures(pictures_of(cohort, "P003"))
    expected = calibrate_mean(held_out, inner, 2).apply(answers.raw)
    np.testing.assert_allclose(answers.probs, expected)
    assert as_table(predictor, answers)["probabilities"].tolist() == ["calibrated"]


def test_a_prevalence_shifts_what_is_calibrated_and_costs_decide_on_it(runs):
    root, pictures = runs[1][0].root, pictures_of(runs[0], "P003")
    plain = load_predictor(root)
    given = {"prevalence": "benign=0.98,lymphoma=0.01,metastatic=0.01", "costs": "lymphoma:benign=200"}
    predictor = load_predictor(root, **given)
    table = as_table(predictor, predictor.predict_pictures(pictures))
    shares = np.array(plain.model.record.pooled.shares)
    joint = plain.predict_pictures(pictures).probs * np.array([0.98, 0.01, 0.01]) / shares
    expected = joint / joint.sum()
    np.testing.assert_allclose(table.filter(like="prob_").to_numpy(), expected)
    assert table["probabilities"].tolist() == ["calibrated, shifted to the prevalence"]
    assert table["predicted"].tolist() == ["benign"]
    assert table["decision"].tolist() != ["benign"]
    costs = expected[0] @ np.array([[0, 1, 1], [200, 0, 1], [1, 1, 0]])
    assert table["expected_cost"].tolist() == [pytest.approx(costs.min())]
    with pytest.raises(SettingsError, match=r"the shares sum to 0\.9"):
        load_predictor(root, prevalence="benign=0.7,lymphoma=0.1,metastatic=0.1")


def test_a_held_out_patient_gets_its_out_of_fold_prediction(runs):
    """Models, preprocessing and fusion are those of training: fold by fold the probabilities agree."""
    cohort, baselines, _ = runs
    predictions = read_predictions(baselines[0].predictions)
    predictor = load_predictor(baselines[0].root)
    single = of_fold(predictor, 0)
    for patient in cohort.held_out(0)[:3]:
        expected = predictions.of([patient]).probs
        np.testing.assert_allclose(probs(single.predict_pictures(pictures_of(cohort, patient))), expected, atol=1e-5)


def test_a_prediction_is_the_mean_of_the_folds(runs):
    cohort, baselines, _ = runs
    predictor = load_predictor(baselines[1].root)
    picture = pictures_of(cohort, "P003")
    alone = [probs(of_fold(predictor, fold).predict_pictures(picture)) for fold in range(len(predictor.model.models))]
    np.testing.assert_allclose(probs(predictor.predict_pictures(picture)), np.mean(alone, axis=0))


def test_a_patient_gets_the_same_prediction_alone_and_in_a_cohort(runs, make_cohort):
    cohort = make_cohort(9, name="new", seed=8)
    for fusion in runs[2]:
        predictor = load_predictor(fusion.root)
        answers = predictor.predict_cohort(cohort)
        alone = predictor.predict_pictures(pictures_of(cohort, "P007"))
        np.testing.assert_allclose(probs(answers, "P007"), probs(alone), atol=1e-5)


def test_the_training_cohort_is_refused_with_its_out_of_fold_predictions(runs):
    """Also a copy of it with other folds and columns: the patients and pictures are the same."""
    cohort, baselines, _ = runs
    predictor = load_predictor(baselines[0].root)
    copies = replace(cohort, folds=draw_folds(cohort.patients, k=3), patients=cohort.patients.assign(age=50))
    for same in (cohort, copies):
        with pytest.raises(RunError, match=r"trained on the patients(.|\n)*baseline-2d/predictions\.parquet"):
            predictor.predict_cohort(same)


def test_frames_that_are_not_looked_at_are_counted(runs, capsys, tmp_path):
    first, *rest = (Image.open(io.BytesIO(encode_noise(seed))) for seed in range(3))
    first.save(tmp_path / "moving.gif", save_all=True, append_images=rest)
    load_predictor(runs[1][0].root).predict_pictures({"2d": tmp_path / "moving.gif"}, frame=1)
    assert "moving.gif: holds 3 frames; frame 1 alone is used." in capsys.readouterr().err


def test_a_cine_gives_the_frames_that_its_import_would_choose(runs, capsys, tmp_path):
    """As views of one patient; or the frame that is named."""
    _, [baseline, *_], _ = runs
    path = write_animation(tmp_path / "a.tiff", draw_cine(8, sharp={1: 0, 6: 1}))
    predictor = load_predictor(baseline.root)
    cutting = with_preparation(predictor, Preparation(crop="4,4,40,40", frames="best:2"))
    for number, pixels in open_cine(path).read([1, 6]):
        Image.fromarray(pixels[4:44, 4:44]).save(tmp_path / f"{number}.png")
    alone = [probs(predictor.predict_pictures({"2d": tmp_path / f"{number}.png"})) for number in (1, 6)]
    np.testing.assert_allclose(np.log(probs(cutting.predict_pictures({"2d": path}))), mean_logits(alone), atol=1e-5)
    assert (
        "a.tiff: holds 8 frames; frames 1 and 6 alone are used, as in its study (`--frames best:2`)."
        in capsys.readouterr().err
    )
    np.testing.assert_array_equal(probs(cutting.predict_pictures({"2d": path}, frame=6)), alone[1])
    assert "frame 6 alone is used, as asked; its study took `--frames best:2`." in capsys.readouterr().err


def test_a_cine_gives_the_frame_of_the_study_unless_another_is_named(runs, capsys, tmp_path):
    path = write_animation(tmp_path / "a.tiff", draw_cine(8, sharp={1: 0, 6: 1}))
    Image.fromarray(dict(open_cine(path).read([6]))[6]).save(tmp_path / "6.png")
    predictor = load_predictor(runs[1][0].root)
    study = with_preparation(predictor, Preparation(frame=6))
    alone = probs(study.predict_pictures({"2d": tmp_path / "6.png"}))  # a still picture has no frame 6
    np.testing.assert_array_equal(probs(study.predict_pictures({"2d": path})), alone)
    assert "frame 6 alone is used, as in its study (`--frame 6`)." in capsys.readouterr().err
    other = probs(predictor.predict_pictures({"2d": path}, frame=2))
    np.testing.assert_array_equal(probs(study.predict_pictures({"2d": path}, frame=2)), other)
    assert "frame 2 alone is used, as asked; its study took `--frame 6`." in capsys.readouterr().err
    short = write_animation(tmp_path / "b.tiff", draw_cine(3, sharp={}))
    with pytest.raises(PictureError, match=r"b\.tiff: holds 3 frames.*study took frame 6(.|\n)*`--frame N`"):
        study.predict_pictures({"2d": short})


@pytest.mark.parametrize(
    ("own", "other", "said"),
    [
        (Preparation(frames="best"), {"frames": "5"}, "took `--frames best`, other `--frames 5`: import them alike"),
        (Preparation(frames="best"), {"cines": 3}, "took `--frames best`, other `--frame 0`: import them alike"),
        (Preparation(frame=0), {"cines": 3}, ""),
        (Preparation(frames="best"), {}, ""),  # still pictures have no frames
    ],
)
def test_a_cohort_whose_cines_were_taken_by_another_rule_is_warned_of(runs, make_cohort, capsys, own, other, said):
    cohort = make_cohort(6, name="other", seed=11)
    cohort = replace(cohort, details=cohort.details.model_copy(update=other))
    with_preparation(load_predictor(runs[1][0].root), own).predict_cohort(cohort)
    warned = [line for line in capsys.readouterr().err.splitlines() if "of cines its study" in line]
    assert len(warned) == bool(said)
    assert said in "".join(warned)


def mean_logits(probabilities):
    """Logarithms of the softmax of the mean of two answers' logits."""
    return log_softmax(np.mean(np.log(probabilities), axis=0), axis=1)


def with_preparation(predictor, preparation):
    study = predictor.model.record.study.model_copy(update={"preparation": preparation})
    record = predictor.model.record.model_copy(update={"study": study})
    return replace(predictor, model=replace(predictor.model, record=record))


def test_a_picture_and_a_column_that_the_run_does_not_take_are_named(runs, capsys):
    cohort, baselines, _ = runs
    predictor, pictures = load_predictor(baselines[0].root), pictures_of(cohort, "P001")
    table = predictor.predict_pictures(pictures)
    assert "does not take cdfi, elastic: not used" in capsys.readouterr().err
    assert used(predictor, table) == ["2d"]
    with pytest.raises(RunError, match=r"takes no clinical column 'age'(.|\n)*takes pictures only"):
        predictor.predict_pictures(pictures, clinical={"age": "54"})


def test_any_subset_of_the_triplet_is_predicted_and_named(runs):
    cohort, baselines, fusions = runs
    pictures = pictures_of(cohort, "P001")
    del pictures["cdfi"]
    predictor = load_predictor(fusions[0].root)
    table = predictor.predict_pictures(pictures)
    assert used(predictor, table) == ["2d+elastic"]
    means = [probs(load_predictor(baselines[i].root).predict_pictures(pictures)) for i in (0, 2)]
    assert probs(table).argmax() == softmax(np.log(np.mean(means, axis=0)), axis=-1).argmax()


def test_a_run_without_its_modality_names_it(runs):
    cohort, baselines, _ = runs
    with pytest.raises(RunError, match="takes elastic"):
        load_predictor(baselines[2].root).predict_pictures({"2d": pictures_of(cohort, "P001")["2d"]})


def test_a_missing_checkpoint_is_named(runs, tmp_path):
    baselines, fusions = copy_of(runs, tmp_path)
    baselines[1].checkpoint(1).unlink()
    with pytest.raises(RunError, match=r"baseline-cdfi/fold_1/best\.safetensors: is missing"):
        load_predictor(fusions[0].root)


def test_an_unfinished_run_is_refused(runs, tmp_path):
    baselines, _ = copy_of(runs, tmp_path)
    baselines[0].predictions.unlink()
    with pytest.raises(RunError, match="not finished"):
        load_predictor(baselines[0].root)
    with pytest.raises(RunError, match="neither a model"):
        load_predictor(baselines[0].root / "fold_0")


def test_a_trained_head_predicts_any_subset_as_in_cross_validation(runs):
    """Fold by fold, the probabilities of held-out patients are those of the subset table."""
    cohort, baselines, _ = runs
    run = RunFolder(baselines[0].root.parent / "head")
    settings = HeadSettings(width=16, epochs=2, batch_size=8, copies=1)
    train_heads(cohort, baselines, {run: settings}, seed=0, device=CPU)
    subsets = pd.read_parquet(run.subset_predictions).set_index(["modalities", "patient_id"])
    predictor = load_predictor(run.root)
    first = of_fold(predictor, 0)
    patient = cohort.held_out(0)[0]
    pictures = pictures_of(cohort, patient)
    for subset in ("2d+cdfi+elastic", "2d+elastic", "cdfi"):
        table = first.predict_pictures({m: pictures[m] for m in subset.split("+")})
        assert used(first, table) == [subset]
        expected = subsets.loc[(subset, patient), [c for c in subsets if c.startswith("prob_")]]
        np.testing.assert_allclose(probs(table)[0], expected.to_numpy(dtype=float), atol=2e-3)  # tokens are float16


def test_a_head_with_clinical_columns_predicts_from_the_known_ones(runs, make_cohort, capsys):
    """All known: as in cross-validation. The training patients' mean stands for a missing one."""
    cohort, baselines, _ = runs
    patients = cohort.patients.assign(age=np.linspace(20, 80, 20), sex=["f", "m"] * 10)
    cohort = replace(cohort, patients=patients)
    save_cohort(cohort)
    run = RunFolder(baselines[0].root.parent / "clinical-head")
    settings = HeadSettings(head="concat", width=16, epochs=8, batch_size=8, copies=1, lr=0.01, clinical=("age", "sex"))
    train_heads(cohort, baselines, {run: settings}, seed=0, device=CPU)
    predictions = read_predictions(run.predictions)
    predictor = load_predictor(run.root)
    assert predictor.model.clinical == ["age", "sex"]
    first, patient = of_fold(predictor, 0), cohort.held_out(0)[0]
    pictures, own = pictures_of(cohort, patient), patients.set_index("patient_id").loc[patient]
    table = first.predict_pictures(pictures, clinical={"age": str(own["age"]), "sex": own["sex"]})
    np.testing.assert_allclose(probs(table), predictions.of([patient]).probs, atol=2e-3)  # tokens are float16
    new = make_cohort(23, name="new", seed=8)
    new = replace(new, patients=new.patients.assign(**patients[["age", "sex"]].reindex(range(23), fill_value=None)))
    in_cohort = first.predict_cohort(new)
    alone = first.predict_pictures(pictures_of(new, patient), clinical={"age": str(own["age"]), "sex": own["sex"]})
    np.testing.assert_allclose(probs(alone), probs(in_cohort, patient), atol=1e-5)

    mean = predictor.model.models[0].columns[0].mean
    unknown = first.predict_pictures(pictures, clinical={"sex": own["sex"]})
    assert "mean of the training patients: age." in capsys.readouterr().err
    average = first.predict_pictures(pictures, clinical={"sex": own["sex"], "age": str(mean)})
    np.testing.assert_allclose(probs(unknown), probs(average), atol=1e-5)
    assert np.abs(probs(unknown) - probs(first.predict_pictures(pictures, clinical={"age": "20"}))).max() > 1e-4
    with pytest.raises(CohortError, match="'x' is not 'f' or 'm'"):
        predictor.predict_pictures(pictures, clinical={"sex": "x"})


@pytest.mark.parametrize("same_file", [True, False])
def test_training_pictures_under_new_names_are_refused(runs, make_cohort, same_file):
    cohort, _, fusions = runs
    other = make_cohort(9, name="other", seed=11)
    source = cohort.picture_path(cohort.images["path"][0])
    target = other.picture_path(other.images["path"][3])
    if same_file:
        target.write_bytes(source.read_bytes())
    else:
        brighter = np.asarray(Image.open(source)).astype(int) + 3
        Image.fromarray(brighter.clip(0, 255).astype(np.uint8)).save(target)
    images = other.images.assign(sha256=[hash_file(other.picture_path(path)) for path in other.images["path"]])
    with pytest.raises(RunError, match=f"1 picture of other was used to train(.|\n)*{other.images['image_id'][3]}"):
        load_predictor(fusions[0].root).predict_cohort(replace(other, images=images))


def test_a_run_whose_cohort_moved_says_that_its_pictures_are_unknown(runs, monkeypatch, capsys):
    def fail(*args):
        raise CohortError("gone.", "Give it.")

    picture = pictures_of(runs[0], "P001")["2d"]
    predictor = load_predictor(runs[1][0].root)
    predictor.predict_pictures({"2d": picture})
    assert "was trained on it (the same file)" in capsys.readouterr().err
    monkeypatch.setattr("fusion_ln.predict.predictor.open_run_cohort", fail)
    predictor.predict_pictures({"2d": picture})
    assert f"whether {picture} was trained on is unknown" in capsys.readouterr().err


def test_a_cohort_without_training_pictures_is_predicted_from_one_look_at_each(runs, make_cohort, monkeypatch):
    _, _, fusions = runs
    other, read, looked = make_cohort(9, name="other", seed=12), Cohort.read_picture, list[str]()

    def watched(cohort, image):
        looked.extend([image] * (cohort is other))
        return read(cohort, image)

    monkeypatch.setattr(Cohort, "read_picture", watched)
    predictor = load_predictor(fusions[0].root)
    assert len(predictor.predict_cohort(other).patients) == 9
    assert sorted(looked) == sorted(other.images["image_id"])
    looked.clear()
    predictor.predict_cohort(other)  # its banks are on disk, the grey copies are not
    assert sorted(looked) == sorted(other.images["image_id"])


def test_nodes_are_counted_as_such_and_named_apart_from_their_patients(runs, rng, tmp_path):
    names = [f"P{number // 2}::{number % 2 + 1}" for number in range(6)] + ["P3::1", "P4::1", "P5::1"]
    table = pd.DataFrame({"patient_id": names, "label": np.arange(9) % 3, "site": "a"})
    table["label"] = table.groupby(table["patient_id"].str[:2])["label"].transform("first")
    nodes = write_cohort(
        tmp_path / "nodes", table, lambda *_: rng.integers(0, 256, (40, 40, 3), np.uint8), modalities=("2d",), k=2
    )
    run, out = runs[1][0].root, tmp_path / "answers.json"
    assert "9 of 9 nodes of 6 patients predicted." in fusionln("predict", run, "--cohort", nodes.root, "--json", out)
    assert [f"{each['patient_id']}::{each['node_id']}" for each in json.loads(out.read_text())] == names
    shown = fusionln("predict", run, "--cohort", nodes.root)
    assert "node_id" in shown
    assert "::" not in shown
    assert "fusionln predict MODEL --cohort DIR" in refused(
        "evaluate", run, "--cohort", nodes.root, "--out", tmp_path / "e"
    )


def test_probabilities_that_are_not_numbers_are_not_handed_out(runs, monkeypatch):
    cohort, baselines, _ = runs
    predictor = load_predictor(baselines[0].root)
    monkeypatch.setattr(TripletModel, "fuse_stacked", lambda *inputs: torch.full((1, 3), torch.nan))
    with pytest.raises(ModelError, match="values that are not finite numbers"):
        predictor.predict_pictures(pictures_of(cohort, "P001"))


def test_a_new_picture_is_cut_as_those_of_the_models_study(runs, tmp_path, capsys):
    """The whole screen gives the answer of its part that was cut by hand; a cohort of whole ones is warned of."""
    cohort, _, [fusion, *_] = runs
    predictor = load_predictor(fusion.root)
    cropping = with_preparation(predictor, Preparation(crop="6,4,24,24"))
    path = pictures_of(cohort, "P003")["2d"]
    with Image.open(path) as image:
        image.crop((6, 4, 30, 28)).save(tmp_path / "part.png")
    whole, part = cropping.predict_pictures({"2d": path}), predictor.predict_pictures({"2d": tmp_path / "part.png"})
    np.testing.assert_array_equal(probs(whole), probs(part))
    assert "were cut out of their screens (`--crop 6,4,24,24`): `predict` and `serve` do the same" in (
        capsys.readouterr().err
    )
    patients = cohort.patients.iloc[:-1]  # another fingerprint
    images = cohort.images[cohort.images["patient_id"].isin(patients["patient_id"])]
    other = replace(cohort, patients=patients, images=images)
    with pytest.raises(RunError, match="used to train"):
        cropping.predict_cohort(other)
    assert "(`--crop 6,4,24,24`), those of tiny taken whole" in capsys.readouterr().err


UNUSED = (
    "captum", "django", "highdicom", "lightning_fabric", "matplotlib", "onnx", "optuna", "pydicom", "ray",
    "safetensors.torch", "scipy.linalg", "scipy.ndimage", "scipy.optimize", "scipy.sparse", "scipy.special",
    "scipy.stats", "sklearn", "statsmodels", "sympy", "timm", "torch", "torchvision",
)  # fmt: skip


def test_what_one_patients_answer_does_not_use_is_not_imported():
    modules = ("cli.predict", "cohort.folder", "predict.predictor", "predict.present", "predict.structured_report")
    code = f"import sys, {', '.join(f'fusion_ln.{module}' for module in modules)}\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {*UNUSED, "onnxruntime"} & set(loaded) == set()


def test_one_patients_answer_from_kept_graphs_imports_no_torch(runs, tmp_path):
    cohort, _, [*_, stacked] = runs
    freeze(stacked, tmp_path / "model", licence="MIT")
    given = [f"--{modality}={path}" for modality, path in pictures_of(cohort, "P003").items()]
    given = ["predict", str(tmp_path / "model"), *given, "--engine", "onnx"]
    made = fusionln(*given)
    code = (
        "import sys; from fusion_ln.cli.main import cli; cli(sys.argv[1:], standalone_mode=False); print(*sys.modules)"
    )
    again = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, check=True)
    *shown, loaded = again.stdout.splitlines()
    assert shown == made.splitlines()[-len(shown) :]
    assert set(UNUSED) & set(loaded.split()) == set()
