"""Choice of the engine that answers: by request, or by a fixed rule; and messages where one cannot."""

import dataclasses
import importlib.metadata
import importlib.util

import pytest
import torch
from tiny import refused

from fusion_ln.errors import ModelError
from fusion_ln.export.engine import choice, traced
from fusion_ln.export.engine.choice import choose_engine, engine_of, with_graphs


def test_auto_takes_the_faster_engine_by_a_fixed_rule(make_model, cache, monkeypatch):
    model = make_model("late-mean", "resnet10t", modalities=("2d",))
    chosen = choose_engine(model, "auto", lasting=True)
    assert chosen.graphs
    assert engine_of(chosen) == {"name": "onnxruntime", "version": importlib.metadata.version("onnxruntime")}
    assert engine_of(model) == {"name": "torch", "version": torch.__version__}
    assert choose_engine(model, "auto", lasting=False).graphs  # those of a frozen model are kept
    assert not choose_engine(dataclasses.replace(model, digest=None), "auto", lasting=False).graphs
    assert not choose_engine(model, "torch", lasting=True).graphs
    assert choose_engine(model, "onnx", lasting=False).graphs
    unmeasured = make_model("late-mean", "test_vit", modalities=("2d",))
    assert not choose_engine(unmeasured, "auto", lasting=True).graphs
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not choose_engine(model, "auto", lasting=True).graphs
    with pytest.raises(ModelError, match=r"--engine onnx: .* not installed"):
        choose_engine(model, "onnx", lasting=True)


def test_a_network_that_computes_otherwise_there_is_refused(make_model, cache, monkeypatch):
    model = make_model("late-mean", "resnet10t", modalities=("2d",))
    monkeypatch.setattr(traced, "CLOSE", -1.0)
    with pytest.raises(ModelError, match="the network of 2d gives other values"):
        with_graphs(model)
    assert not choose_engine(model, "auto", lasting=True).graphs
    assert not cache.exists()


def test_predict_and_serve_pass_the_engine_on(make_model, monkeypatch, tmp_path):
    model = make_model("late-mean", modalities=("2d",))
    monkeypatch.setattr("fusion_ln.predict.predictor.open_model", lambda root: model)
    monkeypatch.setattr(choice, "installed", lambda: False)
    for command in (("predict", tmp_path, "--2d", tmp_path / "a.png"), ("serve", tmp_path, "--port", 0)):
        assert "are not installed" in refused(*command, "--engine", "onnx")
