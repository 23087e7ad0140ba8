import json
import os
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from tiny import CPU, FIT

from fusion_ln.cohort.folder import save_cohort
from fusion_ln.cohort.folds import draw_folds
from fusion_ln.cohort.importing import import_cohort
from fusion_ln.cohort.source import open_source
from fusion_ln.errors import CohortError, RunError
from fusion_ln.files.hashes import hash_file
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.batches import Batches
from fusion_ln.models.backbones import create_backbone
from fusion_ln.models.classifier import MultiTaskClassifier, build_classifier
from fusion_ln.predictions import read_predictions
from fusion_ln.report.pretraining import write_pretraining_report
from fusion_ln.runs import RunFolder
from fusion_ln.settings.pretraining import PretrainSettings
from fusion_ln.training.pretraining import pretrain as module
from fusion_ln.training.pretraining.multitask import MultiTaskLearning, TaskBatches
from fusion_ln.training.pretraining.pretrain import pretrain
from fusion_ln.training.run import run_baselines

SHARED = Path(os.environ.get("FUSIONLN_SHARED", Path(__file__).parents[4] / "shared"))
BUSI = ("busi", "busi_256")
TINY = FIT.model_copy(update={"epochs": 3})


@pytest.fixture
def make_task(make_cohort):
    """A cohort of grey-scale pictures alone; `classes` leaves out the others."""

    def make(name, patients=18, classes=3, names=None):
        whole = make_cohort(patients, name=name)
        kept = whole.patients[whole.patients["label"] < classes].reset_index(drop=True)
        images = whole.images[(whole.images["modality"] == "2d") & whole.images["patient_id"].isin(kept["patient_id"])]
        rng = np.random.default_rng(list(name.encode()))
        for row in images.itertuples():  # pictures of its own: make_cohort draws the same for every name
            path = whole.root / row.path
            pixels = np.asarray(Image.open(path)).copy()
            coarse = Image.fromarray(rng.integers(0, 60, (6, 6), dtype=np.uint8)).resize(pixels.shape[1::-1])
            Image.fromarray((pixels // 2 + np.asarray(coarse)[..., None]).astype(np.uint8)).save(path)
        images = images.assign(sha256=[hash_file(whole.root / path) for path in images["path"]])
        cohort = replace(
            whole,
            classes=names or whole.classes[:classes],
            modalities=("2d",),
            patients=kept,
            images=images.reset_index(drop=True),
            folds=draw_folds(kept, k=2),
        )
        save_cohort(cohort)
        return cohort

    return make


def learn(cohorts, folder, *, order="sequential", seed=0, **changes):
    run = RunFolder(folder)
    settings = PretrainSettings(fit=TINY.model_copy(update=changes), order=order, seed=seed)
    torch.manual_seed(int.from_bytes(folder.name.encode()[:4]))  # no help from outside
    pretrain(cohorts, settings, run, CPU)
    return run


@pytest.mark.parametrize("order", ["sequential", "interleaved"])
def test_two_sets_are_learnt_and_the_same_command_gives_the_same_backbone(make_task, tmp_path, order):
    cohorts = [make_task("a"), make_task("b", 20, classes=2)]
    one, two = (learn(cohorts, tmp_path / name, order=order) for name in ("one", "two"))
    assert one.backbone.read_bytes() == two.backbone.read_bytes()
    assert not (one.root / "fit").exists()
    history = pd.read_parquet(one.history)
    assert history["val_loss"].to_numpy() == pytest.approx((history["val_loss:a"] + history["val_loss:b"]) / 2)
    for name, cohort in zip("ab", cohorts, strict=True):
        predictions = read_predictions(one.task(name) / "predictions.parquet")
        assert predictions.classes == cohort.classes
        held = json.loads(one.metrics.read_text())[name]["pooled"]["auc_ovr"]
        probs = predictions.probs if len(cohort.classes) > 2 else predictions.probs[:, 1]
        assert held == pytest.approx(roc_auc_score(predictions.labels, probs, multi_class="ovr"))


def test_the_backbone_is_of_the_best_epoch_and_loads_by_folder_and_file(make_task, tmp_path, monkeypatch):
    results = []
    real = module.fit
    monkeypatch.setattr(module, "fit", lambda *a, **k: results.append(real(*a, **k)) or results[-1])
    run = learn([make_task("a"), make_task("b")], tmp_path / "run")
    kept = {name: tensor for name, tensor in results[0].weights.items() if name.startswith("backbone.")}
    saved = load_file(run.backbone)
    assert set(saved) == set(kept)
    assert all(torch.equal(saved[name], kept[name]) for name in kept)
    for weights in (run.root, run.backbone):
        loaded = create_backbone("test_resnet", image_size=32, weights=str(weights)).state_dict()
        assert all(torch.equal(loaded[name.removeprefix("backbone.")], kept[name]) for name in kept)


def test_each_set_is_split_four_to_one_by_patient_within_its_classes(make_task, tmp_path):
    cohort = make_task("a", 30)
    run = learn([cohort, make_task("b")], tmp_path / "run", epochs=1)
    assert run.read_record().fit.patients["a"] == (24, 6)
    judged = read_predictions(run.task("a") / "predictions.parquet")
    assert np.bincount(judged.labels).tolist() == [2, 2, 2]
    assert set(judged.patients) <= set(cohort.patients["patient_id"])


@pytest.mark.parametrize("interrupted_after", [0, 1])
def test_an_interrupted_pre_training_ends_as_an_uninterrupted_one(
    make_task, tmp_path, monkeypatch, capsys, interrupted_after
):
    cohorts = [make_task("a"), make_task("b")]
    whole = learn(cohorts, tmp_path / "whole")
    real = module._TaskScores.on_epoch

    def interrupt(self, epoch):
        real(self, epoch)
        if epoch.epoch == interrupted_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(module._TaskScores, "on_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        learn(cohorts, tmp_path / "cut")
    monkeypatch.setattr(module._TaskScores, "on_epoch", real)
    cut = learn(cohorts, tmp_path / "cut")
    assert cut.backbone.read_bytes() == whole.backbone.read_bytes()
    columns = [column for column in pd.read_parquet(whole.history) if column != "seconds"]
    pd.testing.assert_frame_equal(pd.read_parquet(cut.history)[columns], pd.read_parquet(whole.history)[columns])
    capsys.readouterr()
    learn(cohorts, tmp_path / "cut")
    assert "already there, with these settings; kept" in capsys.readouterr().err
    with pytest.raises(RunError, match=r"settings\.fit\.epochs: 3 there, 2 asked for"):
        learn(cohorts, tmp_path / "cut", epochs=2)


def test_it_stops_early_on_the_mean_loss_of_the_tasks(make_task, tmp_path, monkeypatch):
    losses = iter([1.0, 0.5, 0.6, 0.7, 0.1])
    real = MultiTaskLearning.validate
    monkeypatch.setattr(
        MultiTaskLearning, "validate", lambda self, *a: replace(real(self, *a), loss=next(losses)), raising=True
    )
    run = learn([make_task("a"), make_task("b")], tmp_path / "run", epochs=5, patience=2)
    assert run.read_record().fit.epochs == 4
    assert run.read_record().fit.best_epoch == 1


def batches_of(n, labels=3, size=4, **more):
    bank = ImageBank(np.zeros((n, 3, 8, 8), np.uint8), np.arange(n).astype(str), np.arange(n) % labels)
    return Batches(bank, np.arange(n), size, **more)


def test_sequential_goes_set_by_set_and_interleaved_mixes_each_epoch():
    parts = (batches_of(20), batches_of(12), batches_of(3))
    sequential = TaskBatches(parts)
    assert [b.task for b in sequential.shuffled(0)] == [0] * 5 + [1] * 3 + [2]
    assert len(sequential) == 9
    mixed = TaskBatches(parts, "interleaved", seed=1)
    orders = [[b.task for b in mixed.shuffled(epoch)] for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == [0] * 5 + [1] * 3 + [2]


def test_a_batch_trains_the_backbone_and_its_own_head_alone():
    model = MultiTaskClassifier(torch.nn.Flatten(), [torch.nn.Linear(192, 3), torch.nn.Linear(192, 3)])
    task = MultiTaskLearning(model, ("2d", "2d"))
    batch = next(iter(TaskBatches((batches_of(8), batches_of(8))).in_order()))
    task.loss(model, batch, torch.device("cpu")).backward()
    assert model.heads[0].bias.grad is not None
    assert model.heads[1].bias.grad is None


# --- bad input -------------------------------------------------------------------------------------------------------


def test_tasks_of_the_same_name_are_refused_with_both_folders(make_task, tmp_path):
    one = make_task("a")
    with pytest.raises(CohortError, match=f"2 tasks are named 'a': {one.root}, {one.root}"):
        learn([one, one], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_task_with_one_class_is_refused_with_its_counts(make_task, tmp_path):
    lonely = make_task("lonely", classes=1, names=("benign", "malignant"))
    with pytest.raises(CohortError, match=r"task lonely: only one class has patients \(benign 6, malignant 0\)"):
        learn([make_task("a"), lonely], tmp_path / "run")


def test_a_task_with_a_class_of_one_patient_is_refused(make_task, tmp_path):
    cohort = make_task("a")
    patients = pd.concat([cohort.patients[cohort.patients["label"] < 2], cohort.patients.query("label == 2")[:1]])
    with pytest.raises(CohortError, match=r"fewer than 2 patients \(benign 6, lymphoma 6, metastatic 1\)"):
        learn([replace(cohort, patients=patients)], tmp_path / "run")


def test_a_task_with_several_modalities_is_refused(make_cohort, tmp_path):
    with pytest.raises(CohortError, match="has the modalities 2d, cdfi, elastic; a task has one"):
        learn([make_cohort()], tmp_path / "run")


# --- fine-tuning -----------------------------------------------------------------------------------------------------


def fine_tune(cohort, weights, out, modalities=("2d",)):
    fit = TINY.model_copy(update={"weights": str(weights), "epochs": 1})
    return run_baselines(cohort, list(modalities), fit, out, protocol="nested", seed=0, device=CPU)


def test_a_baseline_starts_from_the_pre_trained_backbone(make_task, make_cohort, tmp_path):
    run = learn([make_task("a"), make_task("b")], tmp_path / "run")
    [baseline] = fine_tune(make_cohort(name="study"), run.root, tmp_path / "out")
    assert baseline.finished
    assert baseline.read_record().settings.fit.weights == str(run.root)
    model = build_classifier(TINY.model_copy(update={"weights": str(run.root)}), 3)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in load_file(run.backbone).items())


def test_a_picture_of_the_pre_training_in_the_cohort_is_refused_by_name(make_task, make_cohort, tmp_path):
    """The same file under another name, and one that is smaller, darker and saved as JPEG."""
    task = make_task("a")
    run = learn([task, make_task("b")], tmp_path / "run", epochs=1)
    cohort = make_cohort(name="study")
    same, near = cohort.images[cohort.images["modality"] == "2d"]["path"].iloc[[0, 5]]
    (cohort.root / same).write_bytes((task.root / task.images["path"].iloc[3]).read_bytes())
    with Image.open(task.root / task.images["path"].iloc[7]) as image:
        image.resize((52, 47), Image.Resampling.BICUBIC).point(lambda v: int(0.9 * v)).save(cohort.root / near)
    hashes = [hash_file(cohort.root / path) for path in cohort.images["path"]]
    cohort = replace(cohort, images=cohort.images.assign(sha256=hashes))
    save_cohort(cohort)
    for weights in (run.root, run.backbone):
        with pytest.raises(CohortError, match="2 pictures of study also served the pre-training") as caught:
            fine_tune(cohort, weights, tmp_path / "out")
    lines = caught.value.problem.splitlines()
    assert f"P000-2d-0: the same file as a, {task.images['image_id'].iloc[3]}" in lines[1]
    assert f"P005-2d-0: nearly the same as a, {task.images['image_id'].iloc[7]}" in lines[2]
    assert not (tmp_path / "out").exists()
    assert fine_tune(cohort, run.root, tmp_path / "out", ["cdfi"])[0].finished  # its other pictures are new


def test_a_folder_that_is_no_finished_pre_training_is_no_weights(make_task, make_cohort, tmp_path, monkeypatch):
    cohort = make_cohort(name="study")
    [baseline] = fine_tune(cohort, "scratch", tmp_path / "out")
    with pytest.raises(RunError, match="not a pre-training"):
        fine_tune(cohort, baseline.root, tmp_path / "other")
    with pytest.raises(RunError, match=r"a folder without run\.json"):
        fine_tune(cohort, tmp_path, tmp_path / "other")
    run = learn([make_task("a"), make_task("b")], tmp_path / "run", epochs=1)
    run.backbone.unlink()
    with pytest.raises(RunError, match="an unfinished pre-training"):
        fine_tune(cohort, run.root, tmp_path / "other")


def test_weights_that_tell_no_pictures_are_said_to_be_unchecked(make_task, make_cohort, tmp_path, capsys):
    run = learn([make_task("a"), make_task("b")], tmp_path / "run", epochs=1)
    (tmp_path / "alone.safetensors").write_bytes(run.backbone.read_bytes())
    fine_tune(make_cohort(name="study"), tmp_path / "alone.safetensors", tmp_path / "out")
    assert "tells no pictures that it learnt from" in capsys.readouterr().err


# --- memory ----------------------------------------------------------------------------------------------------------


def peak_of_an_epoch(path, n):
    """Bytes held at most by one epoch of training batches and a judgement, beyond the bank's own table."""
    bank_file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, 3, 32, 32))  # sparse
    del bank_file
    bank = ImageBank(np.load(path, mmap_mode="r"), np.array([f"p{i:06d}" for i in range(n)]), np.arange(n) % 2)
    rows = np.arange(n)
    batches = TaskBatches((Batches(bank, rows[: 4 * n // 5], 500), Batches(bank, rows[4 * n // 5 :], 500)))
    tracemalloc.start()
    for batch in batches.shuffled(0):
        assert batch.batch.pictures.shape[0] <= 500
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_a_task_of_100_times_the_pictures_needs_no_more_memory(tmp_path):
    small, large = (peak_of_an_epoch(tmp_path / f"{n}.npy", n) for n in (1_000, 100_000))
    assert large - small < 40 * 100_000  # bytes; the pictures themselves are 3,072 each


# --- report ----------------------------------------------------------------------------------------------------------


def test_the_report_shows_every_task_with_the_figures_of_its_predictions(make_task, tmp_path):
    run = learn([make_task("a"), make_task("b", 30, classes=2)], tmp_path / "run", epochs=2)
    page = write_pretraining_report(run).read_text()
    assert page.count("<svg") == len(list(run.root.glob("figures/*.png"))) == 2 + 2 * 2
    assert "simulated" not in page.split("</style>")[1].lower()
    table = pd.read_csv(run.root / "tables" / "metrics.csv").set_index(["task", "metric", "class"])["value"]
    metrics = json.loads(run.metrics.read_text())
    for name in "ab":
        for metric in ("auc_ovr", "accuracy", "precision", "recall", "f1", "mcc"):
            assert table[name, metric, "all"] == pytest.approx(metrics[name]["pooled"][metric])


def test_the_report_of_simulated_tasks_says_so(make_task, tmp_path):
    run = learn([replace(make_task("a"), simulated=True), make_task("b")], tmp_path / "run", epochs=1)
    assert "<strong>SIMULATED</strong>" in write_pretraining_report(run).read_text()
    assert "simulated" in (run.root / "tables" / "metrics.csv").read_text().splitlines()[0]


def test_an_unfinished_pre_training_has_no_report(make_task, tmp_path):
    run = learn([make_task("a"), make_task("b")], tmp_path / "run", epochs=1)
    run.backbone.unlink()
    with pytest.raises(RunError, match="not a finished pre-training"):
        write_pretraining_report(run)


# --- real pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(not (SHARED / "data" / "thyroid_tinet").is_dir(), reason="no real pictures here")
def test_real_organs_breasts_and_thyroids_are_learnt_together(tmp_path):
    data = SHARED / "data"
    lines = [f"{label}-{n},{label},{data.name}/{label}/{n}.jpg" for label in ("benign", "malignant") for n in (1, 2, 3)]
    shutil.copytree(data / "thyroid_tinet" / "sample", tmp_path / data.name)
    (tmp_path / "thyroid.csv").write_text("\n".join(["patient_id,label,2d", *lines]))
    sources = {"ocau": data / "ocau", "busi": data / "busi", "table": tmp_path / "thyroid.csv"}
    cohorts = [import_cohort(open_source(name, src), tmp_path / name, k=2) for name, src in sources.items()]
    run = learn(cohorts, tmp_path / "run", batch_size=16)
    metrics = json.loads(run.metrics.read_text())
    assert set(metrics) == {"ocau", "busi", "table"}
    assert metrics["ocau"]["pooled"]["auc_ovr"] > 0.6
    with pytest.raises(CohortError, match="97 pictures of busi also served the pre-training"):
        fine_tune(cohorts[1], run.root, tmp_path / "out")


@pytest.mark.real_data
@pytest.mark.skipif(not (SHARED / "data" / "busi_256").is_dir(), reason="no real pictures here")
def test_a_real_picture_that_was_squeezed_and_filed_elsewhere_is_found(tmp_path):
    """Picture benign (437) of one copy of BUSI, 256 x 256, shows what normal (34) of the other does at its own size."""
    copies = {name: import_cohort(open_source("busi", SHARED / "data" / name), tmp_path / name) for name in BUSI}
    run = learn([copies["busi"]], tmp_path / "run", epochs=1, batch_size=16)
    with pytest.raises(CohortError, match=r"shared_pictures\.csv"):
        fine_tune(copies["busi_256"], run.root, tmp_path / "out")
    shared = pd.read_csv(tmp_path / "busi_256" / "shared_pictures.csv").set_index("image_id")["detail"]
    assert "nearly the same as busi, normal/normal (34).png" in shared["benign/benign (437).png"]
