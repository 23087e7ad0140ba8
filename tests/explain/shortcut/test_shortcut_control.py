"""The script behind benchmarks/shortcut_audit.md, on as little as it takes."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "experiments" / "evidence" / "shortcut_control.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("shortcut_control", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_one_seed_of_one_modality_gives_a_page_with_both_arms(script, tmp_path, monkeypatch):
    from fusion_ln.settings.devices import DeviceSettings

    monkeypatch.setattr(script, "PATIENTS", 40)
    monkeypatch.setattr(script, "IMAGE_SIZE", 32)
    monkeypatch.setattr(script, "EPOCHS", 1)
    fit = script.resolve_fit("fast", {"backbone": "test_resnet", "image_size": 32, "epochs": 1}, "test")
    monkeypatch.setattr(script, "resolve_fit", lambda *arguments: fit)
    monkeypatch.setattr(script, "write_audit_page", lambda judged: None)
    table = script.control([1], ["elastic"], tmp_path, DeviceSettings(device="cpu", workers=1))
    assert table["shortcut"].tolist() == [0.9, 0.0]
    assert set(table["relies"]) <= {"yes", "no"}
    page = script.page(table, script.false_alarms(2, n_patients=30), 2, 1.0)
    assert "Simulated patients." in page
    assert page.count("| baseline-elastic |") == 2
    assert "alarms in 2" in page
