"""Explanations of finished runs: patients, models, written files, and every bad input."""

import json

import numpy as np
import pandas as pd
import pytest
import tiny
from tiny import CLASSES, CPU, invoke, refused

from fusion_ln.cohort.phantom.simulate import simulate_cohort
from fusion_ln.cohort.phantom.truth import load_truth
from fusion_ln.compute import device, threads
from fusion_ln.errors import RunError
from fusion_ln.explain import map_metrics
from fusion_ln.explain.integrated import integrated_gradients
from fusion_ln.explain.methods import METHODS
from fusion_ln.explain.request import METHOD_NAMES, ExplainSettings
from fusion_ln.explain.run import choose_patients, deal, explain_run
from fusion_ln.predictions import predictions_from_logits, read_predictions
from fusion_ln.report.kit import style
from fusion_ln.report.run.page import write_results
from fusion_ln.report.run.reading import read_results
from fusion_ln.runs import ExplanationFolder, RunFolder
from fusion_ln.training.fusion.head_job import train_heads
from fusion_ln.training.run import run_baselines, run_fusions

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]
FIT = tiny.FIT.model_copy(update={"backbone": "test_vit", "batch_size": 8})
HEAD = tiny.HEAD.model_copy(update={"epochs": 1, "grid": 2})


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """A phantom with absent pictures, and on it a baseline, a late and a cross-attention fusion."""
    root = tmp_path_factory.mktemp("phantom")
    cohort = simulate_cohort(root / "cohort", n_patients=40, image_size=48, missing=0.2, k=2)
    baselines = run_baselines(
        cohort, list(cohort.modalities), FIT, root / "runs", protocol="nested", seed=0, device=CPU
    )
    [late] = run_fusions(cohort, baselines, {"late-mean": None}, root / "runs", seed=0, device=CPU)
    trained = RunFolder(root / "runs" / "attention")
    train_heads(cohort, baselines, {trained: HEAD}, seed=0, device=CPU)
    return cohort, baselines, late, trained


def explain(*arguments):
    return invoke("explain", *arguments)


@pytest.fixture(scope="module")
def explained(phantom, tmp_path_factory):
    """Three patients of the cross-attention fusion, explained by all methods that fit; and what was said."""
    out = tmp_path_factory.mktemp("explained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "cores", lambda: 1)  # in this process, with the patched constants
        patch.setattr(style, "PNG_DPI", 20)
        patch.setattr(map_metrics, "SQUARES", 4)
        patch.setattr(map_metrics, "NOISE_DRAWS", 1)
        patch.setitem(integrated_gradients.__kwdefaults__, "first_steps", 8)
        patch.setitem(integrated_gradients.__kwdefaults__, "most_steps", 8)
        code, output = explain(phantom[3].root, "--sample", 3, "--out", out)
    assert code == 0, output
    return phantom[0], phantom[3], out, output


def test_a_sample_takes_the_classes_in_turn_and_depends_on_the_seed(rng):
    labels = np.repeat([0, 1, 2], [20, 3, 17])
    predictions = predictions_from_logits(
        CLASSES, [f"P{i:02}" for i in range(40)], np.zeros(40), labels, rng.normal(size=(40, 3))
    )
    chosen = choose_patients(predictions, ExplainSettings(sample=9))
    assert predictions.of(chosen).labels.tolist().count(1) == 3
    assert sorted(np.bincount(predictions.of(chosen).labels)) == [3, 3, 3]
    assert (
        choose_patients(predictions, ExplainSettings(sample=9))
        == chosen
        != choose_patients(predictions, ExplainSettings(sample=9, seed=1))
    )
    wrong = choose_patients(predictions, ExplainSettings(errors=True))
    assert (predictions.of(wrong).probs.argmax(1) != predictions.of(wrong).labels).all()
    assert len(wrong) == (predictions.probs.argmax(1) != predictions.labels).sum()
    assert choose_patients(predictions, ExplainSettings(patients=("P03", "P01", "P03"))) == ["P01", "P03"]


def test_a_run_without_errors_has_none_to_explain():
    labels = np.arange(6) % 3
    predictions = predictions_from_logits(CLASSES, list("abcdef"), np.zeros(6), labels, 5 * np.eye(3)[labels])
    with pytest.raises(RunError, match="misclassifies no patient"):
        choose_patients(predictions, ExplainSettings(errors=True))


def test_every_method_has_a_name_for_its_option():
    assert tuple(METHODS) == METHOD_NAMES


def test_every_patient_is_explained_by_the_held_out_model(explained):
    """The probabilities are those of the out-of-fold predictions."""
    _, run, out, _ = explained
    found = pd.read_parquet(out / "patients.parquet").set_index("patient_id")
    expected = read_predictions(run.predictions).of(found.index).table.set_index("patient_id")
    assert (found["fold"] == expected["fold"]).all()
    columns = [f"prob_{name}" for name in CLASSES]
    np.testing.assert_allclose(found[columns], expected[columns], atol=5e-3)  # the run's tokens are float16
    assert (found["target"] == found[columns].to_numpy().argmax(1)).all()


def test_the_maps_the_tables_and_the_page_are_written(explained):
    _, _, out, output = explained
    record = json.loads((out / "explanation.json").read_text())
    names = [method["name"] for method in record["methods"]]
    assert names == ["gradcam", "ig", "occlusion", "attention"]
    patients = pd.read_parquet(out / "patients.parquet")
    for patient in patients["patient_id"]:
        for method in [*names, "random"]:
            with np.load(out / "maps" / method / f"{patient}.npz") as held:
                assert held["2d"].shape == (1, 32, 32)
                assert held["deletion"].shape == held["insertion"].shape
        assert (out / "figures" / "patients" / f"{patient}.png").is_file()
    for name in ("methods", "figures", "patients", "contributions", "interactions"):
        table = pd.read_csv(out / "tables" / f"{name}.csv")
        assert table["simulated"].all()
    assert str(out / "explanation.html") in output
    page = (out / "explanation.html").read_text()
    assert "SIMULATED" in page
    assert all(patient in page for patient in patients["patient_id"])
    assert all(title in page for title in ("Integrated Gradients", "Grad-CAM", "Occlusion", "Attention"))


def test_contributions_add_up_and_absent_pictures_add_nothing(explained):
    cohort, _, out, _ = explained
    table = pd.read_parquet(out / "contributions.parquet")
    parts = table.groupby(["patient_id", "class"])
    sums = parts["contribution"].sum()
    np.testing.assert_allclose(sums, parts["prob"].first() - parts["prior"].first(), atol=1e-6)
    assert (table.loc[~table["present"], ["contribution", "exact"]] == 0).all(axis=None)
    shares = (
        cohort.patients.set_index("patient_id").loc[cohort.training_part(0)[0], "label"].value_counts(normalize=True)
    )
    first = table[table["fold"] == 0].drop_duplicates("class").set_index("class")["prior"]
    np.testing.assert_allclose(first[list(CLASSES)], shares.sort_index())


def test_exact_contributions_are_those_of_the_phantoms_posterior(explained):
    cohort, _, out, _ = explained
    table = pd.read_parquet(out / "contributions.parquet")
    known = load_truth(cohort).posteriors.set_index(["patient_id", "subset"])
    for (patient, name), own in table.groupby(["patient_id", "class"]):
        held = "+".join(own.loc[own["present"], "modality"])
        gained = known.loc[(patient, held), f"prob_{name}"] - known.loc[(patient, ""), f"prob_{name}"]
        assert own["exact"].sum() == pytest.approx(gained)


def test_random_maps_weigh_the_node_by_its_area(explained):
    _, _, out, _ = explained
    table = pd.read_parquet(out / "figures.parquet")
    random = table[table["method"] == "random"]
    np.testing.assert_allclose(random["node_weight"], random["node_area"], atol=0.04)
    np.testing.assert_allclose(random["marks_weight"], random["marks_area"], atol=0.04)
    assert table.groupby(["method", "patient_id"])["share"].sum(min_count=1).dropna().to_numpy() == pytest.approx(1)


def test_an_interrupted_explanation_reuses_its_maps(explained):
    cohort, run, out, _ = explained
    maps = sorted((out / "maps").glob("*/*.npz"))
    lost = maps[0]
    before = {path: path.stat().st_mtime_ns for path in maps}
    lost.unlink()
    explain_run(run, cohort, ExplainSettings(sample=3), ExplanationFolder(out))
    assert {path for path in maps if path.stat().st_mtime_ns != before[path]} == {lost}


def test_a_baseline_has_no_contributions_and_its_report_links_to_the_page(phantom):
    cohort, baselines, _, _ = phantom
    code, output = explain(baselines[2].root, "--sample", 2, "--method", "gradcam,ig", "--no-trust")
    assert code == 0, output
    page = (baselines[2].root / "explanation" / "explanation.html").read_text()
    assert "Not tested" in page
    assert "Insertion" not in page
    assert "Shapley" not in page
    assert not (baselines[2].root / "explanation" / "contributions.parquet").exists()
    results = read_results([baselines[2]], cohort)
    report = write_results(baselines[2].root.parent, results, title="report").read_text()
    assert 'href="baseline-elastic/explanation/explanation.html"' in report


def test_a_page_of_real_patients_names_no_node_and_no_simulation(make_cohort, tmp_path):
    cohort = make_cohort(12, views=2)
    [baseline] = run_baselines(cohort, ["cdfi"], FIT, tmp_path / "runs", protocol="nested", seed=0, device=CPU)
    assert explain(baseline.root, "--errors", "--sample", 1, "--method", "ig", "--no-trust")[0] == 0
    page = baseline.explanation.page.read_text()
    assert "imulated" not in page.partition("</style>")[2]
    assert "Colour Doppler 2" in page  # the second view
    assert "each frame that was taken of a cine, has maps of its own" in page
    assert "in the node" not in page
    assert sorted(path.name for path in (baseline.explanation.root / "tables").iterdir()) == [
        "figures.csv",
        "patients.csv",
    ]


def test_patients_side_by_side_have_the_maps_of_one_after_another(phantom, tmp_path, monkeypatch):
    cohort, _, late, _ = phantom
    settings = ExplainSettings(sample=2, methods=("gradcam",))
    for name, n_cores in (("alone", 1), ("beside", 2)):
        for module in (device, threads):
            monkeypatch.setattr(module, "cores", lambda n_cores=n_cores: n_cores)
        explain_run(late, cohort, settings, ExplanationFolder(tmp_path / name))
    files = sorted((tmp_path / "alone").glob("maps/*/*.npz"))
    assert len(files) == 4  # two patients, by the method and at random
    for file in files:
        with np.load(file) as alone, np.load(tmp_path / "beside" / file.relative_to(tmp_path / "alone")) as beside:
            assert set(alone) == set(beside)
            for key in alone:
                np.testing.assert_allclose(alone[key], beside[key], rtol=1e-4, atol=1e-6)


def test_contributions_of_everyone_cost_no_maps(phantom, tmp_path):
    cohort, _, late, _ = phantom
    code, output = explain(
        late.root, "--sample", 2, "--method", "gradcam", "--no-trust", "--everyone", "--out", tmp_path
    )
    assert code == 0, output
    table = pd.read_parquet(tmp_path / "contributions.parquet")
    assert table["patient_id"].nunique() == len(cohort.patients)
    assert len(list((tmp_path / "maps" / "gradcam").iterdir())) == 2


def test_the_explanation_of_another_run_is_not_overwritten(explained, phantom):
    assert "holds the explanation of another run" in refused("explain", phantom[2].root, "--out", explained[2])


def test_a_patient_who_is_not_in_the_run_is_named(phantom):
    cohort, baselines, late, _ = phantom
    assert "patient 'nobody' is not in the run" in refused("explain", late.root, "--patients", "P0001,nobody")
    absent = next(p for p in cohort.patients["patient_id"] if p not in cohort.patients_with("2d"))
    output = refused("explain", baselines[0].root, "--patients", absent)
    assert f"patient {absent!r} is not in the run" in output
    assert "without its modality" in output


def test_unknown_and_unfit_methods_are_named(phantom):
    late = phantom[2].root
    assert "--method: cam: unknown method" in refused("explain", late, "--method", "gradcam,cam")
    assert "needs ReLU activations" in refused("explain", late, "--method", "guided-gradcam", "--sample", 1)
    assert "only a run of the head `cross-attention`" in refused(
        "explain", late, "--method", "attention", "--sample", 1
    )
    assert "Name them (--patients)" in refused("explain", late, "--patients", "P0001", "--sample", 1)


def test_a_run_without_checkpoints_says_so(phantom, tmp_path):
    import shutil

    shutil.copytree(phantom[2].root.parent, tmp_path / "runs")
    copied = tmp_path / "runs" / phantom[2].name
    (tmp_path / "runs" / "baseline-cdfi" / "fold_1" / "best.safetensors").unlink()
    assert "baseline-cdfi/fold_1/best.safetensors: is missing" in refused("explain", copied)
    (copied / "predictions.parquet").unlink()
    assert "not finished" in refused("explain", copied)
    assert "it is not a run" in refused("explain", tmp_path)


def test_a_cohort_that_moved_is_asked_for(phantom, tmp_path, make_cohort):
    import shutil

    cohort, _, late, _ = phantom
    shutil.copytree(late.root.parent, tmp_path / "runs")
    run = tmp_path / "runs" / late.name
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "cohort_path": str(tmp_path / "gone")}))
    assert "Say where it is with `--cohort DIR`" in refused("explain", run)
    assert "made on another cohort" in refused("explain", run, "--cohort", make_cohort().root)
    code, output = explain(run, "--cohort", cohort.root, "--sample", 1, "--method", "gradcam", "--no-trust")
    assert code == 0, output


def test_each_worker_goes_through_neighbours_of_its_own():
    dealt = deal(list("aabbcc"), 2)
    assert sorted(dealt) == list("aabbcc")
    assert ["".join(dealt[worker::2]) for worker in range(2)] == ["aab", "bcc"]
