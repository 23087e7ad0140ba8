"""Models in the layouts of timm and of a hub, and predictions as R reads them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from tiny import CPU, FIT, build_cohort, fusionln, refused, shortened

from fusion_ln.decode.picture import read_picture
from fusion_ln.export.timm_folder import export_timm
from fusion_ln.frozen.folder import LOG, ModelFolder
from fusion_ln.frozen.freeze import freeze
from fusion_ln.frozen.load import load_model
from fusion_ln.images.batches import as_network_input
from fusion_ln.images.prepare import prepare_picture
from fusion_ln.predict.predictor import load_predictor
from fusion_ln.predictions import read_predictions
from fusion_ln.settings.fusion import FinetuneSettings, HeadSettings
from fusion_ln.training.run import run_baselines


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A cohort, a baseline on it, and the same frozen as an ensemble and as a refit."""
    folder = tmp_path_factory.mktemp("study")
    cohort = build_cohort(folder, 15)
    run = run_baselines(cohort, ["2d"], FIT, folder / "runs", protocol="nested", seed=0, device=CPU)[0]
    with shortened():
        freeze(run, folder / "ensemble", licence="CC-BY-4.0")
        freeze(run, folder / "refit", licence="CC-BY-4.0", answer="refit", device=CPU)
    return cohort, run, folder


def snippet(readme):
    return re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1]


def test_the_lines_of_the_readme_give_our_logits_of_every_network(study, tmp_path, monkeypatch):
    _, _, folder = study
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 37, 4), np.uint8)).save(tmp_path / "picture.png")
    square = prepare_picture(read_picture(tmp_path / "picture.png"), 32)
    for answer, places in (("ensemble", ["2d/fold_0", "2d/fold_1"]), ("refit", ["2d"])):
        model, out = load_model(folder / answer), tmp_path / answer
        fusionln("export", folder / answer, "--timm", out)
        readme = (out / "README.md").read_text()
        assert [line[3:-1] for line in readme.splitlines() if line.startswith("- `")] == places
        (out / "picture.png").symlink_to(tmp_path / "picture.png")
        monkeypatch.chdir(out)
        for place, ours in zip(places, model.models, strict=True):
            found = {}
            with torch.inference_mode():
                exec(snippet(readme).replace(places[0], place), found)
                expected = ours.members["2d"](as_network_input(torch.from_numpy(square)[None]))
            torch.testing.assert_close(found["logits"], expected, atol=1e-5, rtol=1e-5)
            assert found["network"].pretrained_cfg["input_size"] == [3, 32, 32]
        assert "never for a diagnosis" in readme
        assert model.digest in readme


def test_a_fine_tuned_network_leaves_without_a_head_of_its_own(study, tmp_path):
    model = load_model(study[2] / "refit")
    record = model.record.model_copy(update={"head": (HeadSettings(finetune=FinetuneSettings()),)})
    export_timm(type(model)(model.root, record, model.models, model.scores), tmp_path / "out")
    assert not (tmp_path / "out" / "2d" / "head").exists()
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "has no head of its own" in readme
    assert "logits" not in snippet(readme)


def test_the_hub_reads_the_card_and_its_metadata_survive_a_round_trip(study, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    out = tmp_path / "hub"
    assert load_model(study[2] / "ensemble").digest in fusionln("export", study[2] / "ensemble", "--hub", out)
    card, own = hub.ModelCard.load(out / "README.md"), hub.ModelCard.load(out / "model_card.md")
    card.save(tmp_path / "again.md")
    assert hub.ModelCard.load(tmp_path / "again.md").data.to_dict() == card.data.to_dict() == own.data.to_dict()
    assert card.text.strip().startswith(own.text.strip())
    assert "fusionln predict DIR" in card.text
    assert {"facts.html", "weights/2d-0.safetensors"} <= {p.relative_to(out).as_posix() for p in out.rglob("*")}
    assert "*.safetensors filter=lfs" in (out / ".gitattributes").read_text()


def test_a_copy_for_the_hub_is_the_model_and_names_no_patient(study, tmp_path):
    cohort, _, folder = study
    model = tmp_path / "model"
    shutil.copytree(folder / "ensemble", model)
    (model / LOG).write_text("[]")
    (model / ".gitignore").write_text("*.png")  # of a checkout: no part of the model
    fusionln("export", model, "--hub", out := tmp_path / "out")
    assert ModelFolder(out).check_digest() == ModelFolder(model).check_digest()
    assert (out / LOG).is_file()
    assert not (out / ".gitignore").exists()
    fusionln("verify", out)
    new = build_cohort(tmp_path, 6, name="new", seed=8)
    expected = load_predictor(model).predict_cohort(new)
    np.testing.assert_array_equal(load_predictor(out).predict_cohort(new).probs, expected.probs)
    words = [word.encode() for word in [*cohort.patients["patient_id"], *cohort.images["image_id"], str(folder)]]
    for file in (file for file in out.rglob("*") if file.is_file()):
        assert not any(word in file.read_bytes() for word in words), file


def test_what_cannot_be_exported_is_refused_in_words(study, tmp_path):
    _, run, folder = study
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_text("dear")
    for form in ("--timm", "--hub"):
        assert "holds other files" in refused("export", folder / "refit", form, tmp_path / "full")
    assert "is not a model" in refused("export", run.root, "--hub", tmp_path / "a")
    for form in ("--timm", "--hub", "--csv"):
        assert "which must stay as it is" in refused("export", folder / "refit", form, folder / "refit" / "new")
    assert "no patient's prediction" in refused("export", folder / "refit", "--csv", tmp_path / "a.csv")
    shutil.copytree(folder / "refit", edited := tmp_path / "edited")
    (edited / "facts.html").write_text("x")
    assert "facts.html was changed" in refused("export", edited, "--hub", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_predict_writes_the_answer_as_a_report_of_the_pictures_study(study, tmp_path):
    highdicom, pydicom = pytest.importorskip("highdicom"), pytest.importorskip("pydicom")
    _, run, folder = study
    uids = {f"{name}_instance_uid": highdicom.UID() for name in ("study", "series", "sop")}
    described = {"series_number": 1, "instance_number": 1, "manufacturer": "x", "patient_orientation": ("L", "P")}
    picture = highdicom.sc.SCImage(
        np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8), "RGB", 8, "PATIENT", **uids, **described
    )
    picture.save_as(tmp_path / "a.dcm")
    command = ("--2d", tmp_path / "a.dcm", "--sr", tmp_path / "report.dcm")
    fusionln("predict", folder / "ensemble", *command, "--json", tmp_path / "answer.json")
    (group,) = highdicom.sr.srread(tmp_path / "report.dcm").content.get_image_measurement_groups()
    expected = json.loads((tmp_path / "answer.json").read_text())["probabilities"]
    assert [each.value for each in group.get_measurements()] == list(expected.values())
    assert pydicom.dcmread(tmp_path / "report.dcm").StudyInstanceUID == uids["study_instance_uid"]
    assert "has no digest" in refused("predict", run.root, *command)
    assert "which must stay as it is" in refused(
        "predict", folder / "ensemble", *command[:2], "--sr", folder / "ensemble" / "r"
    )
    assert "a report is of one patient" in refused("predict", run.root, "--cohort", folder, *command[2:])


def test_predictions_are_written_as_one_plain_table(study, tmp_path):
    _, run, _ = study
    fusionln("export", run.root, "--csv", tmp_path / "p.csv")
    table, held = pd.read_csv(tmp_path / "p.csv"), read_predictions(run.predictions)
    assert table.columns[:4].tolist() == ["patient_id", "fold", "label", "class"]
    assert table["class"].tolist() == [held.classes[label] for label in held.labels]
    np.testing.assert_allclose(table.filter(like="prob_"), held.probs, rtol=1e-14)
    benign = table["class"] == "benign"
    assert benign.tolist() == (held.labels == 0).tolist()


def test_r_reads_the_table_and_proc_gives_our_auc(study, tmp_path):
    """Skipped where R or its package pROC is not installed."""
    rscript = shutil.which("Rscript")
    if not rscript or subprocess.run([rscript, "-e", "library(pROC)"], capture_output=True).returncode:
        pytest.skip("no R with pROC")
    _, run, _ = study
    fusionln("export", run.root, "--csv", tmp_path / "p.csv")
    script = Path(__file__).parents[2] / "experiments" / "evidence" / "auc.R"
    printed = subprocess.run([rscript, script, tmp_path / "p.csv"], capture_output=True, text=True, check=True).stdout
    found = {line.split()[0]: float(line.split()[1]) for line in printed.splitlines()[1:]}
    held = read_predictions(run.predictions)
    areas = {name: roc_auc_score(held.labels == c, held.probs[:, c]) for c, name in enumerate(held.classes)}
    assert found == pytest.approx({**areas, "mean": np.mean(list(areas.values()))}, abs=1e-12)


def test_weights_lie_in_safetensors_that_timm_opens_without_a_head(study, tmp_path):
    export_timm(load_model(study[2] / "refit"), tmp_path / "out")
    network = timm.create_model(f"local-dir:{tmp_path / 'out' / '2d'}", pretrained=True)
    held = load_file(tmp_path / "out" / "2d" / "model.safetensors")
    assert network.state_dict().keys() == held.keys()
    assert all(torch.equal(network.state_dict()[name], held[name]) for name in held)
