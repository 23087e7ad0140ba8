import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import FIT, HEAD

from fusion_ln.errors import RunError
from fusion_ln.models.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_head,
    load_member,
    save_checkpoint,
    save_head,
    save_tensors,
)
from fusion_ln.models.classifier import build_classifier
from fusion_ln.models.fusion.base import HeadEnsemble, TripletShape
from fusion_ln.models.triplet import load_run
from fusion_ln.records.kinds import BaselineRecord, LateFusionRecord
from fusion_ln.records.origin import new_origin
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import LateSettings
from fusion_ln.settings.training import BaselineSettings, FitSettings


def test_a_checkpoint_rebuilds_the_model_that_was_saved(tmp_path):
    settings = BaselineSettings(modality="cdfi", fit=FitSettings(backbone="test_vit", image_size=32, head_width=8))
    model = build_classifier(settings.fit, 3).eval()
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    checkpoint = Checkpoint(settings, ("a", "b", "c"), fold=2)
    save_checkpoint(tmp_path / "c.safetensors", model.state_dict(), checkpoint)
    rebuilt, described = load_checkpoint(tmp_path / "c.safetensors")
    assert described == checkpoint
    assert torch.equal(rebuilt(pictures), model(pictures))


def baseline(cohort, folder, modality="2d", fit=FIT):
    """Make a run that looks finished, of networks as they were drawn."""
    run, settings = RunFolder(folder), BaselineSettings(modality=modality, fit=fit)
    run.write_record(BaselineRecord(settings=settings, cohort=cohort.describe(), **new_origin()))
    for fold in range(cohort.n_folds):
        weights = build_classifier(fit, len(cohort.classes)).state_dict()
        save_checkpoint(run.checkpoint(fold), weights, Checkpoint(settings, cohort.classes, fold))
    run.predictions.touch()
    return run


def rewrite(path, change=lambda tensors: None, describe=lambda described: None):
    """Write a checkpoint again with other tensors or another description."""
    with safe_open(path, framework="pt") as file:
        [(key, text)] = file.metadata().items()
    tensors, described = load_file(path), json.loads(text)
    change(tensors)
    describe(described)
    save_file(tensors, path, {key: json.dumps(described)})


def test_the_same_tensors_and_metadata_are_the_same_bytes(tmp_path):
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2)}
    metadata = {"z": 'ä "quoted"\n\x1f', "network": "{}", "format": "pt"}  # the library writes them in any order
    for number in range(8):
        save_tensors(tmp_path / f"{number}.safetensors", tensors, dict(sorted(metadata.items(), reverse=number % 2)))
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    with safe_open(tmp_path / "0.safetensors", framework="pt") as file:
        assert file.metadata() == metadata
    assert all(torch.equal(tensors[name], value) for name, value in load_file(tmp_path / "0.safetensors").items())


def test_a_checkpoint_that_is_not_the_runs_own_is_refused(make_cohort, tmp_path):
    cohort = make_cohort(8)
    run, other = baseline(cohort, tmp_path / "2d"), baseline(cohort, tmp_path / "cdfi", "cdfi")
    slower = baseline(cohort, tmp_path / "slow", fit=FIT.model_copy(update={"lr": 1e-5}))
    fusion = RunFolder(tmp_path / "fusion")
    settings = LateSettings(head="late-mean", members={"2d": BaselineSettings(modality="2d", fit=FIT)})
    fusion.write_record(
        LateFusionRecord(settings=settings, cohort=cohort.describe(), members=("../2d",), **new_origin())
    )
    fusion.predictions.touch()
    for source, found in (
        (run.checkpoint(1), "fold 1, but 0 was expected"),
        (other.checkpoint(0), "modality 'cdfi', but '2d' was expected"),
        (slower.checkpoint(0), "settings fit.lr 1e-05, but 0.003 was expected"),
    ):
        shutil.copy(source, run.checkpoint(0))
        for trained in (run, fusion):
            with pytest.raises(RunError, match=rf"2d/fold_0/best\.safetensors: a checkpoint with {found}"):
                load_run(trained)


def test_a_member_that_was_trained_again_otherwise_is_refused(make_cohort, tmp_path):
    cohort = make_cohort(8)
    fusion = RunFolder(tmp_path / "fusion")
    settings = LateSettings(head="late-mean", members={"2d": BaselineSettings(modality="2d", fit=FIT)})
    fusion.write_record(
        LateFusionRecord(settings=settings, cohort=cohort.describe(), members=("../2d",), **new_origin())
    )
    fusion.predictions.touch()
    baseline(cohort, tmp_path / "2d", fit=FIT.model_copy(update={"lr": 1e-5}))
    with pytest.raises(RunError, match="its baseline of 2d was trained again with other settings"):
        load_run(fusion)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(make_cohort, tmp_path, value):
    run = baseline(make_cohort(8), tmp_path / "2d")
    rewrite(run.checkpoint(1), lambda tensors: tensors["head.0.weight"].fill_(value))
    with pytest.raises(RunError, match=r"fold_1/best\.safetensors: its tensor head\.0\.weight"):
        load_member(run, 1)


DAMAGES = {
    "is missing": lambda file: file.unlink(),
    "is not a checkpoint": lambda file: file.write_bytes(b""),
    "not a checkpoint": lambda file: file.write_bytes(file.read_bytes()[:-500]),
    "not fit its settings": lambda file: rewrite(file, lambda tensors: tensors.pop("head.0.weight")),
    "its description": lambda file: rewrite(file, describe=lambda described: described.clear()),
    "its  description": lambda file: rewrite(file, describe=lambda described: described.update(classes=3)),
    "backbone": lambda file: rewrite(file, describe=lambda held: held["settings"]["fit"].update(backbone="none")),
}


@pytest.mark.parametrize("found", DAMAGES)
def test_a_damaged_checkpoint_is_named_with_the_way_out(make_cohort, tmp_path, found):
    run = baseline(make_cohort(8), tmp_path / "2d")
    DAMAGES[found](run.checkpoint(1))
    with pytest.raises(RunError, match=rf"fold_1/best\.safetensors: .*{' '.join(found.split())}") as error:
        load_member(run, 1)
    assert "predictions.parquet" in error.value.way_out


def test_a_heads_checkpoint_of_another_fold_or_settings_is_refused(tmp_path):
    shape = TripletShape(n_modalities=2, n_features=8, n_classes=3, n_clinical=0)
    weights = HeadEnsemble(HEAD, shape).state_dict()
    save_head(tmp_path / "best.safetensors", weights, HEAD, shape, fold=0)
    assert load_head(tmp_path / "best.safetensors", 0, HEAD)[1] == ()
    with pytest.raises(RunError, match="fold 0, but 1 was expected"):
        load_head(tmp_path / "best.safetensors", 1, HEAD)
    with pytest.raises(RunError, match=r"settings lr 0\.001, but 0\.5 was expected"):
        load_head(tmp_path / "best.safetensors", 0, HEAD.model_copy(update={"lr": 0.5}))
    rewrite(tmp_path / "best.safetensors", describe=lambda described: described["shape"].update(n_classes="three"))
    with pytest.raises(RunError, match="its description"):
        load_head(tmp_path / "best.safetensors", 0, HEAD)
