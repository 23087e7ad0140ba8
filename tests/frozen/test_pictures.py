"""A model knows the pictures of the pre-training that its networks began from."""

from types import SimpleNamespace

import pytest

from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.pictures import read_hashes, write_hashes
from fusion_ln.records.kinds import BaselineRecord, PretrainingRecord
from fusion_ln.runs import RunFolder
from fusion_ln.training.pretraining.leakage import keep_pictures


def trained_from(weights):
    record = BaselineRecord.model_construct(settings=SimpleNamespace(fit=SimpleNamespace(weights=str(weights))))
    assert isinstance(record, BaselineRecord)
    return record


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
    known = read_hashes(folder, "2d")
    assert known.n_own == 6
    image = livers.images_of("elastic").iloc[0]
    pixels = livers.read_picture(image["image_id"])
    assert known.recognise(pixels, image["sha256"]) == "the same file of the pre-training on livers"
    assert set(known.find(livers, "cdfi").values()) == {"the same file of the pre-training on livers"}
    assert read_hashes(folder, "2d").find(make_cohort(6, name="other", seed=9), "2d") == {}


def test_weights_that_tell_no_pictures_are_named_as_such(make_cohort, tmp_path, capsys):
    cohort = make_cohort(6, name="study")
    beginnings = {"scratch": "random weights", "imagenet": "ImageNet", tmp_path / "w.pth": "no pictures"}
    for weights, words in beginnings.items():
        (beginning,) = write_hashes(ModelFolder(tmp_path / "model"), cohort, ["2d"], trained_from(weights))
        assert words in beginning
    assert "tells no pictures that it learnt from" in capsys.readouterr().err
