"""Networks that compute in onnxruntime: the same answers, the graph kept, and messages where it cannot be."""

import dataclasses
import importlib.metadata
import importlib.util

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import refused

from fusion_ln.errors import ModelError
from fusion_ln.export import trunks
from fusion_ln.export.trunks import choose_trunks, engine_of, with_trunks
from fusion_ln.frozen.answer import Answers, answer
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.patients import gather_pictures


def ask(model):
    """Answer for patients with every subset of the pictures, some with two of a modality."""
    banks, rng = {}, np.random.default_rng(0)
    for m, modality in enumerate(model.modalities):
        owners = [f"{n}" for n in range(1, 8) if n >> m & 1]
        owners, views = [*owners, owners[0]], [0] * len(owners) + [1]
        banks[modality] = ImageBank(rng.integers(0, 256, (len(owners), 3, 32, 32), np.uint8), np.array(owners), views)
    pictures = gather_pictures(banks)
    return answer(model, pictures, pd.DataFrame({"patient_id": pictures.patients}))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSIONLN_CACHE", str(tmp_path))
    return tmp_path / "graphs"


@pytest.mark.parametrize(
    ("backbone", "head"), [("resnet10t", "late-mean"), ("test_vit", "cross-attention"), ("test_efficientnet", "concat")]
)
def test_both_engines_give_the_same_answers(make_model, cache, backbone, head):
    model = make_model(head, backbone, n_models=2)
    expected, found = ask(model), ask(with_trunks(model))
    for name in Answers.__dataclass_fields__:
        if name != "patients":
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-4, err_msg=name)
    assert not np.array_equal(found.raw, expected.raw)  # by other arithmetic, so another engine


def test_a_graph_is_kept_and_holds_no_weights(make_model, cache, monkeypatch):
    model = make_model("late-mean", "resnet10t", modalities=("2d",), n_models=2)
    expected = ask(with_trunks(model)).raw
    (kept,) = cache.iterdir()
    assert kept.stat().st_size < 100_000
    with monkeypatch.context() as patch:
        patch.setattr(trunks, "trace_module", None)
        np.testing.assert_array_equal(ask(with_trunks(model)).raw, expected)
    whole = kept.read_bytes()
    for damaged in (whole[:1000], b""):
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(ask(with_trunks(model)).raw, expected)
        assert kept.stat().st_size > 1000
    with monkeypatch.context() as patch:
        patch.setenv("FUSIONLN_CACHE", str(kept))  # a file, in which no graph can be kept
        np.testing.assert_array_equal(ask(with_trunks(model)).raw, expected)
    with_trunks(dataclasses.replace(model, digest="e" * 64))
    assert len(list(cache.iterdir())) == 2


def test_auto_takes_the_faster_engine_by_a_fixed_rule(make_model, cache, monkeypatch):
    model = make_model("late-mean", "resnet10t", modalities=("2d",))
    chosen = choose_trunks(model, "auto", lasting=True)
    assert chosen.trunks
    assert engine_of(chosen) == {"name": "onnxruntime", "version": importlib.metadata.version("onnxruntime")}
    assert engine_of(model) == {"name": "torch", "version": torch.__version__}
    assert not choose_trunks(model, "auto", lasting=False).trunks
    assert not choose_trunks(model, "torch", lasting=True).trunks
    assert choose_trunks(model, "onnx", lasting=False).trunks
    unmeasured = make_model("late-mean", "test_vit", modalities=("2d",))
    assert not choose_trunks(unmeasured, "auto", lasting=True).trunks
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not choose_trunks(model, "auto", lasting=True).trunks
    with pytest.raises(ModelError, match=r"--engine onnx: .* not installed"):
        choose_trunks(model, "onnx", lasting=True)


def test_a_network_that_computes_otherwise_there_is_refused(make_model, cache, monkeypatch):
    model = make_model("late-mean", "resnet10t", modalities=("2d",))
    monkeypatch.setattr(trunks, "CLOSE", -1.0)
    with pytest.raises(ModelError, match="the network of 2d gives other values"):
        with_trunks(model)
    assert not choose_trunks(model, "auto", lasting=True).trunks
    assert not cache.exists()


def test_predict_and_serve_pass_the_engine_on(make_model, monkeypatch, tmp_path):
    model = make_model("late-mean", modalities=("2d",))
    monkeypatch.setattr("fusion_ln.predict.predictor.load_model", lambda root: model)
    monkeypatch.setattr(trunks, "installed", lambda: False)
    for command in (("predict", tmp_path, "--2d", tmp_path / "a.png"), ("serve", tmp_path, "--port", 0)):
        assert "are not installed" in refused(*command, "--engine", "onnx")
