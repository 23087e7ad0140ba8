"""A model knows the pictures of the pre-training that its networks began from."""

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.pictures import read_hashes, write_hashes
from fusion_ln.records.kinds import BaselineRecord, PretrainingRecord
from fusion_ln.runs import RunFolder
from fusion_ln.training.pretraining.leakage import keep_pictures


def trained_from(weights, root="elsewhere/baseline-2d"):
    record = BaselineRecord.model_construct(settings=SimpleNamespace(fit=SimpleNamespace(weights=str(weights))))
    assert isinstance(record, BaselineRecord)
    run = Mock(spec=RunFolder, root=Path(root))
    run.read_prediction_record.return_value = record
    return run


@pytest.fixture
def pretraining(make_cohort, tmp_path, monkeypatch):
    """A pre-training on the pictures of a cohort, as far as leakage checks need it."""
    run = RunFolder(tmp_path / "pretraining")
    run.root.mkdir()
    run.record.write_text("{}")
    keep_pictures([livers := make_cohort(6, name="livers", seed=3)], run)
    monkeypatch.setattr(RunFolder, "read_record", lambda self: PretrainingRecord.model_construct())
    return run, livers


def test_pictures_of_the_pre_training_are_found_in_another_cohort(pretraining, make_cohort, tmp_path):
    (run, livers), folder = pretraining, ModelFolder(tmp_path / "model")
    beginnings = write_hashes(folder, make_cohort(6, name="study"), ["2d"], trained_from(run.root))
    assert beginnings == ("the pre-training on livers, 18 pictures",)
    assert str(tmp_path) not in folder.pictures.read_bytes().decode("latin1")
    known = read_hashes(folder, ["2d"])["2d"]
    assert known.n_own == 6
    image = livers.images_of("elastic").iloc[0]
    pixels = livers.read_picture(image["image_id"])
    assert known.recognise(pixels, image["sha256"]) == "the same file of the pre-training on livers"
    assert set(known.find(livers, "cdfi").values()) == {"the same file of the pre-training on livers"}
    assert read_hashes(folder, ["2d"])["2d"].find(make_cohort(6, name="other", seed=9), "2d") == {}


def test_a_pre_training_is_found_beside_the_run_from_any_folder(pretraining, make_cohort, tmp_path, capsys):
    folder, cohort = ModelFolder(tmp_path / "model"), make_cohort(6, name="study")
    moved = trained_from("runs/pretraining", tmp_path / "baseline-2d")
    assert write_hashes(folder, cohort, ["2d"], moved) == ("the pre-training on livers, 18 pictures",)
    assert write_hashes(folder, cohort, ["2d"], trained_from("runs/pretraining")) == ("weights that tell no pictures",)
    assert "runs/pretraining: is not at hand" in capsys.readouterr().err


def test_weights_that_tell_no_pictures_are_named_as_such(make_cohort, tmp_path, capsys):
    cohort = make_cohort(6, name="study")
    beginnings = {"scratch": "random weights", "imagenet": "ImageNet", tmp_path / "w.pth": "no pictures"}
    for weights, words in beginnings.items():
        (tmp_path / "w.pth").touch()
        (beginning,) = write_hashes(ModelFolder(tmp_path / "model"), cohort, ["2d"], trained_from(weights))
        assert words in beginning
    assert "tells no pictures that it learnt from" in capsys.readouterr().err
