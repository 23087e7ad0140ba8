"""The parts of a model answer as the model does, in a runtime that knows nothing of us."""

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest

from fusion_ln.cohort.clinical import ClinicalColumn
from fusion_ln.errors import ModelError
from fusion_ln.export.page.parts import OUTPUTS, body_name, split_model
from fusion_ln.frozen.answer import answer
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.patients import gather_pictures

SUBSETS = np.array([[number >> m & 1 for m in range(3)] for number in range(1, 8)], dtype=bool)


def weights_of_body(part):
    """Name the weights of networks that a part holds, as the networks do."""
    names = [each.name for each in onnx.load_from_string(part).graph.initializer]
    return {name.partition("body.")[2] for name in names if "body." in name}


@pytest.mark.parametrize(("name", "is_cnn"), [("convolutional", True), ("efficient", True), ("attending", False)])
def test_the_parts_answer_as_the_model_from_every_subset(request, rng, name, is_cnn):
    model = request.getfixturevalue(name)
    parts = split_model(model)
    assert (parts.gradients is not None) == is_cnn
    first, last = (weights_of_body(parts.bodies[body_name(0, 0)]), weights_of_body(parts.tail))
    assert not first & last  # a visitor fetches each once
    assert bool(last) == (name == "efficient")
    pictures = {
        m: rng.integers(0, 256, (1, 3, side, side), dtype=np.uint8) for m, side in model.record.modalities.items()
    }
    inputs = {"present": SUBSETS}
    for place, each in enumerate(pictures.values()):
        for fold in range(len(model.models)):
            body = onnxruntime.InferenceSession(parts.bodies[body_name(place, fold)])
            [maps] = body.run(None, {"pictures": each.transpose(0, 2, 3, 1)})
            assert list(maps.shape[1:]) == parts.shapes[body_name(place, fold)]
            inputs[body_name(place, fold)] = np.repeat(maps, len(SUBSETS), axis=0)
    found = dict(zip(OUTPUTS, onnxruntime.InferenceSession(parts.tail).run(None, inputs), strict=True))

    names = np.array([f"{i}" for i in range(len(SUBSETS))])
    banks = {}
    for m, (modality, each) in enumerate(pictures.items()):
        here = names[SUBSETS[:, m]]
        banks[modality] = ImageBank(np.repeat(each, len(here), axis=0), here, np.zeros(len(here), dtype=np.int64))
    expected = answer(model, gather_pictures(banks), pd.DataFrame({"patient_id": names}))
    np.testing.assert_allclose(found["probabilities"], expected.probs, atol=1e-3)
    np.testing.assert_allclose(found["alone"], expected.alone, atol=1e-3)  # nan where absent in both
    np.testing.assert_allclose(found["unlike"].max(1) / model.known.threshold, expected.distance, rtol=1e-2)
    assert ((found["p_values"] > 0.1 + 1e-6) == expected.member).all()


def test_a_model_that_needs_more_than_pictures_is_refused_with_a_way_out(convolutional, monkeypatch):
    age = ClinicalColumn(name="age", kinds=None, mean=50, spread=10)
    monkeypatch.setattr(convolutional.models[0], "columns", (age,))
    with pytest.raises(ModelError, match="age") as refused:
        split_model(convolutional)
    assert "fusionln serve" in refused.value.way_out
