"""The model that is served where none is named."""

import os

import pytest
from tiny import FIT

pytest.importorskip("django")
from fusion_ln.serve import choice


def write(path, seconds):
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (seconds, seconds))
    return path.parent


def test_the_newest_model_or_fusion_is_taken(tmp_path, capsys):
    write(tmp_path / "old" / "model.json", 1_000)
    write(tmp_path / "runs" / "phantom" / "baseline-2d" / "predictions.parquet", 4_000)
    run = write(tmp_path / "runs" / "phantom" / "fusion-late-mean" / "predictions.parquet", 3_000)
    assert choice.choose_model(tmp_path) == run
    assert str(run) in capsys.readouterr().err
    model = write(tmp_path / "a" / "b" / "model.json", 3_500)
    assert choice.choose_model(tmp_path) == model


def test_a_demonstration_is_trained_once_and_said(tmp_path, monkeypatch, capsys):
    trained = []

    def train(cohort, modalities, *given, **more):
        trained.append((cohort.simulated, modalities))
        return ["run"]

    def freeze(run, out, *, licence):
        out.mkdir()
        (out / "digest.json").touch()

    monkeypatch.setattr(choice, "FIT", FIT)
    monkeypatch.setattr(choice, "PATIENTS", 30)
    monkeypatch.setattr(choice, "run_baselines_and_fusions", train)
    monkeypatch.setattr(choice, "freeze", freeze)
    made = choice.choose_model(tmp_path)
    assert "30 simulated patients" in capsys.readouterr().err
    assert choice.choose_model(tmp_path) == made
    assert "demonstration" in capsys.readouterr().err
    assert trained == [(True, ["2d", "cdfi", "elastic"])]
