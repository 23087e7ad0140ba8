"""Files that onnxruntime cannot open end in one message that says why."""

import onnx
import pytest
from onnx import TensorProto, helper

from fusion_ln.errors import ModelError
from fusion_ln.export.runtime import open_session


def write(path, opset):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("a", "b")]
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)
    return path


def test_a_newer_opset_is_named_beside_the_known_ones(tmp_path):
    with pytest.raises(ModelError, match=r"it is written in opset 99, and this one knows opsets up to \d+") as caught:
        open_session(write(tmp_path / "new.onnx", 99), "new.onnx")
    assert "pip install -U onnxruntime" in str(caught.value)
    assert open_session(write(tmp_path / "old.onnx", 18), "old.onnx")


def test_a_cut_file_is_no_onnx_file(tmp_path):
    path = write(tmp_path / "cut.onnx", 18)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ModelError, match=r"cut\.onnx: onnxruntime .* it is no ONNX file, or a part of one"):
        open_session(path, "cut.onnx")
