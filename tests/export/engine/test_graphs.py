"""Graphs that are kept: whole answers without torch's networks, and graphs anew where they are gone or damaged."""

import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from fusion_ln.export.engine import traced
from fusion_ln.export.engine.choice import with_graphs
from fusion_ln.export.engine.graphs import KeptFold, KeptGraph, KeptGraphs, read_graphs, write_graphs
from fusion_ln.frozen import networks
from fusion_ln.frozen.answer import Answers
from fusion_ln.frozen.load import load_model, open_model
from fusion_ln.settings.fusion import FinetuneSettings, HeadSettings

PLAIN = {"width": 16, "grid": 1}


def assert_close(found, expected):
    for name in Answers.__dataclass_fields__:
        if name != "patients":
            assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    ("backbone", "head", "settings"),
    [
        ("resnet10t", "late-mean", None),
        ("test_resnet", "late-stacked", None),
        ("test_efficientnet", "concat", HeadSettings(head="concat", clinical=("age",), **PLAIN)),
        ("test_vit", "cross-attention", HeadSettings(head="cross-attention", tokens="pretrained", **PLAIN)),
        ("test_resnet", "concat", HeadSettings(head="concat", finetune=FinetuneSettings(), **PLAIN)),
    ],
    ids=["late", "stacked", "clinical", "pretrained", "finetuned"],
)
def test_kept_graphs_answer_whole_as_torch_does(make_model, freeze, ask, cache, monkeypatch, backbone, head, settings):
    model = freeze(make_model(head, backbone, n_models=2, settings=settings))
    expected = ask(load_model(model.root))
    assert_close(ask(model), expected)
    new = ask(with_graphs(model))
    assert_close(new, expected)
    assert not (new.raw == expected.raw).all()  # by other arithmetic, so another engine
    monkeypatch.setattr(networks, "load_networks", None)
    monkeypatch.setattr(traced, "trace_module", None)
    for lasting in (True, False):
        assert_close(ask(with_graphs(open_model(model.root), lasting=lasting)), expected)


def test_graphs_are_kept_without_weights_and_made_anew_if_lost(make_model, freeze, ask, cache, monkeypatch, capsys):
    model = freeze(make_model("late-mean", "test_resnet", modalities=("2d",), n_models=2))
    expected = ask(with_graphs(model)).raw
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    assert len(whole) < 100_000
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    for damaged in (whole[:1000], b"", bytes(changed)):
        kept.write_bytes(damaged)
        assert_array_equal(ask(with_graphs(model)).raw, expected)
        assert len(kept.read_bytes()) == len(whole)
    with monkeypatch.context() as patch:
        patch.setenv("FUSIONLN_CACHE", str(kept))  # a file, in which no graph can be kept
        capsys.readouterr()
        assert_array_equal(ask(with_graphs(model)).raw, expected)
        assert "the graphs are not kept" in capsys.readouterr().err


def test_a_wrong_byte_in_kept_graphs_is_found_wherever_it_is(tmp_path):
    file = tmp_path / "graphs.zip"
    network, fusion = (KeptGraph(name=name, weights={}) for name in ("0.onnx", "1.onnx"))
    fold = KeptFold(columns=(), networks={"2d": network}, fusion=fusion)
    described, graphs = KeptGraphs(architectures=("resnet18",), folds=(fold,)), {"0.onnx": b"a" * 99, "1.onnx": b"bc"}
    write_graphs(file, described, graphs)
    whole = file.read_bytes()
    for place in range(len(whole)):
        for wrong in (whole[place] ^ 1, whole[place] ^ 0x55):
            file.write_bytes(whole[:place] + bytes([wrong]) + whole[place + 1 :])
            assert read_graphs(file) in (None, (described, graphs))


def test_graphs_of_a_model_whose_folder_holds_other_weights_are_not_kept(make_model, freeze, cache):
    model = freeze(make_model("late-mean", "test_resnet", modalities=("2d",)))
    with torch.no_grad():
        next(model.models[0].parameters()).add_(1)
    with_graphs(model)
    assert not cache.exists()
