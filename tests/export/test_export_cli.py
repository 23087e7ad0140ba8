"""`fusionln export` takes no option without an effect, and says what it made."""

import onnxruntime
import pytest
from tiny import fusionln, refused


@pytest.fixture
def loaded(make_model, monkeypatch):
    """A model of one modality, whatever folder is named."""
    model = make_model("late-mean", modalities=("2d",))
    monkeypatch.setattr("fusion_ln.frozen.load.load_model", lambda root: model)
    return model


def test_options_without_an_effect_are_refused(tmp_path):
    model = tmp_path / "model"
    assert "at least one form" in refused("export", model)
    for option in ("--half", "--int8", "--maps"):
        assert f"{option} belongs to --onnx" in refused("export", model, "--hub", tmp_path / "hub", option)
    onnx = ("export", model, "--onnx", tmp_path / "model.onnx")
    assert "belong together" in refused(*onnx, "--int8")
    assert "--cohort belongs to --int8 or --half" in refused(*onnx, "--cohort", tmp_path)
    assert "is the place of --onnx" in refused(*onnx, "--csv", tmp_path / "model.onnx")
    assert "export twice" in refused(*onnx, "--int8", "--half", "--cohort", tmp_path)


def test_an_onnx_file_is_written_and_named(loaded, make_cohort, tmp_path):
    path = tmp_path / "model.onnx"
    said = fusionln("export", tmp_path / "model", "--onnx", path, "--half")
    assert f"ONNX: {path}" in said
    assert "Not known what half precision costs" in said
    assert onnxruntime.InferenceSession(path).get_inputs()[0].name == "2d"
    cohort = make_cohort(6, modalities=("2d",))
    said = fusionln("export", tmp_path / "model", "--onnx", path, "--int8", "--cohort", cohort.root)
    assert "2 patients set the scales. Of 4 others" in said
    assert "loss of AUC" in said
    assert "Of 6 patients" in fusionln("export", tmp_path / "model", "--onnx", path, "--half", "--cohort", cohort.root)
