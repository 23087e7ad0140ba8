"""The ONNX graph answers as the model does, in a runtime that knows nothing of us."""

import json

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch

from fusion_ln.errors import ModelError, RunError
from fusion_ln.export import onnx_file
from fusion_ln.export.graph import OUTPUTS, AnswerGraph
from fusion_ln.export.onnx_file import METADATA, write_onnx
from fusion_ln.frozen.answer import answer
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.patients import gather_pictures
from fusion_ln.images.prepare import prepare_picture

MODELS = {
    "late": ("late-stacked", "test_resnet", 2),
    "transformer": ("transformer", "test_vit", 1),
}
SUBSETS = np.array([[number >> m & 1 for m in range(3)] for number in range(1, 8)], dtype=bool)


@pytest.fixture(scope="module", params=MODELS)
def exported(request, make_model, tmp_path_factory):
    head, backbone, n_models = MODELS[request.param]
    model = make_model(head, backbone, n_models=n_models)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(model, path)
    return model, onnxruntime.InferenceSession(path)


def draw(rng, *sizes):
    """Draw seven pictures of each modality."""
    return [rng.integers(0, 256, (len(SUBSETS), *size, 3), dtype=np.uint8) for size in sizes]


def run(session, model, pictures, present, part=slice(None)):
    inputs = {m: each[part] for m, each in zip(model.modalities, pictures, strict=True)}
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {**inputs, "present": present[part]}), strict=True))


def expect(model, pictures, present):
    """Let the model itself answer, from pictures that Pillow prepared."""
    names, banks = np.array([f"{i}" for i in range(len(present))]), {}
    for m, modality in enumerate(model.modalities):
        here = np.flatnonzero(present[:, m])
        pixels = np.stack([prepare_picture(pictures[m][i], model.record.modalities[modality]) for i in here])
        banks[modality] = ImageBank(pixels, names[here], np.zeros(len(here), dtype=np.int64))
    return answer(model, gather_pictures(banks), pd.DataFrame({"patient_id": names}))


@pytest.mark.parametrize(("sizes", "within"), [([(32, 32)] * 3, 1e-4), ([(45, 61), (90, 33), (20, 24)], 1e-3)])
def test_the_graph_answers_as_the_model_from_every_subset(exported, rng, sizes, within):
    model, session = exported
    pictures = draw(rng, *sizes)
    expected, found = expect(model, pictures, SUBSETS), run(session, model, pictures, SUBSETS)
    np.testing.assert_allclose(found["probabilities"], expected.probs, atol=within)
    np.testing.assert_allclose(found["raw"], expected.raw, atol=within)
    np.testing.assert_allclose(found["alone"], expected.alone, atol=within)  # nan where absent in both
    facts = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
    np.testing.assert_allclose(found["unlike"].max(1) / facts["unlike_beyond"], expected.distance, atol=within)
    for compared in (np.float32, np.float64):  # as NumPy does, and as other languages do
        assert ((found["p_values"].astype(compared) > facts["in_set_above"]) == expected.member).all()


def test_an_answer_depends_on_no_other_patient_of_the_batch(exported, rng):
    model, session = exported
    pictures = draw(rng, *[(32, 40)] * 3)
    many = run(session, model, [np.tile(each, (5, 1, 1, 1))[:32] for each in pictures], np.tile(SUBSETS, (5, 1))[:32])
    one = run(session, model, pictures, SUBSETS, slice(6, 7))
    np.testing.assert_allclose(one["probabilities"][0], many["probabilities"][6], atol=1e-6)
    assert len(many["probabilities"]) == 32


def test_what_stands_in_an_absent_picture_changes_nothing(exported, rng):
    model, session = exported
    pictures = draw(rng, *[(32, 32)] * 3)
    others = [np.where(SUBSETS[:, m, None, None, None], each, 255 - each) for m, each in enumerate(pictures)]
    first, second = run(session, model, pictures, SUBSETS), run(session, model, others, SUBSETS)
    for name in OUTPUTS:
        np.testing.assert_array_equal(first[name], second[name])
    graph = AnswerGraph(model).eval()
    squares = [torch.from_numpy(prepare_all(each)) for each in pictures]
    with torch.no_grad():
        expected = graph.answer(squares, torch.from_numpy(SUBSETS))
        for value in (torch.nan, torch.inf, 1e30):
            hidden = [each.clone() for each in squares]
            for m, each in enumerate(hidden):
                each[~torch.from_numpy(SUBSETS[:, m])] = value
            for a, b in zip(graph.answer(hidden, torch.from_numpy(SUBSETS)), expected, strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def prepare_all(pictures):
    return (pictures.transpose(0, 3, 1, 2) / 255).astype(np.float32)


def test_without_any_picture_the_answer_is_the_share_of_each_class(exported, rng):
    model, session = exported
    found = run(session, model, draw(rng, *[(1, 1)] * 3), np.zeros((7, 3), dtype=bool))
    np.testing.assert_allclose(found["probabilities"], np.tile(model.record.pooled.shares, (7, 1)), atol=1e-6)


def test_the_file_says_what_it_is(exported):
    model, session = exported
    facts = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
    assert facts["modalities"] == {"2d": 32, "cdfi": 32, "elastic": 32}
    assert facts["pictures"] == "one of each modality"
    assert facts["classes"] == list(model.record.classes)
    assert facts["digest"] == model.digest
    assert "never for a diagnosis" in facts["warnings"][0]
    assert [entry.name for entry in session.get_inputs()] == [*model.modalities, "present"]


def test_half_precision_halves_the_file_and_large_weights_lie_beside_it(make_model, rng, tmp_path):
    model = make_model("concat")
    for name, half, largest in (("whole", False, 2**30), ("half", True, 0)):
        write_onnx(model, tmp_path / f"{name}.onnx", half=half, largest=largest)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes["half.onnx.data"] < 0.6 * sizes["whole.onnx"]
    assert sizes["half.onnx"] < 3e5
    pictures = draw(rng, *[(32, 32)] * 3)
    found = [
        run(onnxruntime.InferenceSession(tmp_path / f"{name}.onnx"), model, pictures, SUBSETS)["probabilities"]
        for name in ("whole", "half")
    ]
    np.testing.assert_allclose(*found, atol=2e-3)
    assert (found[0] != found[1]).any()


def test_what_cannot_be_written_is_refused(make_model, tmp_path, monkeypatch):
    for name in ("present", "raw", "maps_2d"):
        with pytest.raises(ModelError, match="a name that the graph itself gives"):
            write_onnx(make_model("late-mean", modalities=("2d", name)), tmp_path / "model.onnx")
    model = make_model("late-mean", modalities=("2d",))
    with monkeypatch.context() as patch:
        patch.setattr(FrozenModel, "clinical", ["age"])
        with pytest.raises(ModelError, match="takes age, and the graph takes pictures alone"):
            write_onnx(model, tmp_path / "model.onnx")
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        write_onnx(model, tmp_path / "file" / "model.onnx")
    with monkeypatch.context() as patch:
        patch.setattr("torch.nn.Linear.forward", lambda layer, x: torch.special.bessel_j0(x @ layer.weight.T))
        with pytest.raises(ModelError, match=r"cannot express test_resnet: .*bessel_j0"):
            write_onnx(model, tmp_path / "model.onnx")
        patch.setattr("torch.nn.Linear.forward", lambda layer, x: x @ layer.weight)
        with pytest.raises(ModelError, match=r"Tracing for ONNX ended in an error of torch: .*shapes") as caught:
            write_onnx(model, tmp_path / "model.onnx")
        assert "resnet" not in str(caught.value)
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "onnx", None)
        with pytest.raises(ModelError, match="not installed"):
            write_onnx(model, tmp_path / "model.onnx")


@pytest.mark.parametrize("half", [False, True])
def test_a_file_that_would_answer_otherwise_is_not_written(make_model, tmp_path, monkeypatch, half):
    model = make_model("late-mean", modalities=("2d",))
    trace = onnx_file.trace

    def trace_otherwise(graph):
        """Trace a graph whose classes come in another order."""
        proto = trace(graph)
        (last,) = [node for node in proto.graph.node if "probabilities" in node.output]
        last.output[0] = "turned"
        order = onnx.helper.make_node("Constant", [], ["order"], value_ints=[1, 2, 0])
        turn = onnx.helper.make_node("Gather", ["turned", "order"], ["probabilities"], axis=1)
        proto.graph.node.extend([order, turn])
        return proto

    monkeypatch.setattr(onnx_file, "trace", trace_otherwise)
    with pytest.raises(ModelError, match=r"model\.onnx: the graph would answer otherwise than the model, by up to 0"):
        write_onnx(model, tmp_path / "model.onnx", half=half)
    assert not (tmp_path / "model.onnx").exists()
