"""Grad-CAM of the ONNX graph is that of `explain`."""

import json

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from fusion_ln.explain.frozen import FrozenExplainer
from fusion_ln.export.gradcam import fits
from fusion_ln.export.onnx_file import METADATA, write_onnx
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.patients import gather_pictures

SIDE = 64  # two positions a side


def maps_of(model, squares, here, target):
    """Let `explain` compute the maps of one patient who has some modalities."""
    banks = {}
    for each, modality, there in zip(squares, model.modalities, here, strict=True):
        n = int(there)
        banks[modality] = ImageBank(each[:n], np.array(["a"] * n), np.zeros(n))
    patients = pd.DataFrame({"patient_id": ["a"]})
    steps = FrozenExplainer.of(model).maps(gather_pictures(banks), patients, target, ["gradcam"])
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(
    ("head", "backbone", "modalities"),
    [("late-weighted", "test_efficientnet", ("2d",)), ("gated", "test_resnet", ("2d", "elastic"))],
)
def test_the_maps_are_those_of_explain(make_model, rng, tmp_path, head, backbone, modalities):
    model = make_model(head, backbone, side=SIDE, modalities=modalities)
    write_onnx(model, tmp_path / "model.onnx", explanations=True)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    squares = [rng.integers(0, 256, (3, 3, SIDE, SIDE), dtype=np.uint8) for _ in model.modalities]
    present = np.array([[1, 1], [0, 1], [1, 0]], dtype=bool)[:, : len(modalities)]
    inputs = {m: each.transpose(0, 2, 3, 1).copy() for m, each in zip(model.modalities, squares, strict=True)}
    names = [entry.name for entry in session.get_outputs()]
    found = dict(zip(names, session.run(None, {**inputs, "present": present}), strict=True))
    largest = []
    for patient, here in enumerate(present):
        if not here.any():
            assert all((found[f"maps_{modality}"][patient] == 0).all() for modality in modalities)
            continue
        own = [each[patient : patient + 1] for each in squares]
        expected = maps_of(model, own, here, int(found["probabilities"][patient].argmax()))
        for i, modality in enumerate(model.modalities):
            coarse = torch.from_numpy(found[f"maps_{modality}"][patient])
            full = torch.nn.functional.interpolate(coarse[None, None], size=(SIDE, SIDE), mode="bilinear")[0, 0].numpy()
            if here[i]:
                largest.append(expected[modality]["gradcam"].max())
                scale = largest[-1] or 1
                np.testing.assert_allclose(full / scale, expected[modality]["gradcam"] / scale, atol=1e-3)
            else:
                assert (full == 0).all()
    assert max(largest) > 0


def test_without_ordinary_operators_there_are_no_maps(make_model, tmp_path):
    for head, backbone in (("late-mean", "test_vit"), ("transformer", "test_resnet")):
        assert not fits(make_model(head, backbone, side=SIDE, modalities=("2d",)).models[0])
    assert fits(make_model("concat", side=SIDE, modalities=("2d",)).models[0])
    write_onnx(make_model("late-mean", "test_vit", modalities=("2d",)), tmp_path / "model.onnx", explanations=True)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert not json.loads(session.get_modelmeta().custom_metadata_map[METADATA])["explanations"]
