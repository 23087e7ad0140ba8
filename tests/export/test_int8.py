"""An ONNX graph in 8 bits: smaller, still a model, and its loss measured."""

import numpy as np
import onnxruntime
import pytest

from fusion_ln.errors import ModelError
from fusion_ln.export import int8
from fusion_ln.export.int8 import write_int8
from fusion_ln.export.loss import measure_loss
from fusion_ln.export.onnx_file import write_onnx


def test_eight_bits_shrink_the_file_and_their_loss_is_measured(make_model, make_cohort, tmp_path):
    model = make_model("late-mean", modalities=("2d",))
    cohort = make_cohort(12, modalities=("2d",))
    write_onnx(model, tmp_path / "whole.onnx")
    loss = write_int8(model, tmp_path / "small.onnx", cohort)
    assert (tmp_path / "small.onnx").stat().st_size < 0.5 * (tmp_path / "whole.onnx").stat().st_size
    assert (loss.calibrated, loss.patients) == (4, 8)
    assert loss.auc is not None
    assert abs(loss.auc) < 0.2
    assert loss.agreement > 0.5
    assert 0 < loss.largest < 0.1
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx")
    blank = {"2d": np.zeros((1, 50, 40, 3), np.uint8), "present": np.array([[False]])}
    np.testing.assert_allclose(session.run(["probabilities"], blank)[0][0], model.record.pooled.shares, atol=1e-6)
    assert session.get_modelmeta().custom_metadata_map["fusion_ln"]


def test_a_cohort_that_cannot_calibrate_is_refused(make_model, make_cohort, tmp_path):
    model = make_model("late-mean", modalities=("ceus",))
    with pytest.raises(ModelError, match="has no picture of ceus"):
        write_int8(model, tmp_path / "a.onnx", make_cohort(6, modalities=("2d",)))
    model = make_model("late-mean", modalities=("2d",))
    with pytest.raises(ModelError, match="several pictures of a modality"):
        write_int8(model, tmp_path / "a.onnx", make_cohort(6, modalities=("2d",), views=2, name="views"))


def test_half_precision_is_measured_on_every_patient(make_model, make_cohort, tmp_path):
    model = make_model("late-mean", modalities=("2d",))
    cohort = make_cohort(12, modalities=("2d",))
    losses = []
    for name, half in (("whole", False), ("half", True)):
        write_onnx(model, tmp_path / f"{name}.onnx", half=half)
        losses.append(measure_loss(model, tmp_path / f"{name}.onnx", cohort))
    assert [(loss.calibrated, loss.patients) for loss in losses] == [(0, 12)] * 2
    assert losses[0].auc == 0
    assert losses[0].largest < losses[1].largest < 1e-2


def test_no_patient_sets_the_scales_and_shows_the_loss(make_model, make_cohort, tmp_path, monkeypatch):
    model, compared = make_model("late-mean", modalities=("2d",)), []
    monkeypatch.setattr(int8, "compare", lambda *inputs: compared.extend(inputs[-1]))
    monkeypatch.setattr(int8, "CALIBRATED", 3)
    write_int8(model, tmp_path / "small.onnx", make_cohort(12, modalities=("2d",)))
    assert compared == [1, 2, 3, 4, 5, 7, 8, 9, 10]  # 0, 6 and 11 set the scales: spread evenly
    with monkeypatch.context() as patch:
        patch.setattr(int8, "LARGEST", 10)
        with pytest.raises(ModelError, match=r"the networks hold .* GB, and onnxruntime turns at most"):
            write_int8(model, tmp_path / "large.onnx", None)
