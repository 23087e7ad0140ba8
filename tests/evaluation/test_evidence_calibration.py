import importlib.util
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def experiment() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evidence_calibration", ROOT / "experiments/evidence_calibration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_experiment_runs_and_judges_every_method(experiment, monkeypatch):
    monkeypatch.setattr(experiment, "TRUTH_PATIENTS", 3000)
    table = experiment.calibrate(replicates=2, draws=20, seed=0, sizes=(40,))
    assert table["rate"].between(0, 1).all()
    methods = table.groupby("what")["method"].unique().map(set).to_dict()
    assert methods["coverage of a metric"] == {"BCa", "percentile", "DeLong"}
    assert methods["coverage of a difference"] == {"BCa", "percentile"}
    assert methods["rejection"] == {
        "bootstrap",
        "permutation",
        "DeLong",
        "McNemar",
        "McNemar, continuity corrected",
    }
    power = (table["models"] == "apart") & (table["what"] == "rejection")
    assert (table["verdict"] == "")[power].all()
    assert (table["verdict"] != "")[~power].all()


@pytest.mark.parametrize(
    ("models", "what", "rate", "expected"),
    [
        ("same", "coverage of a metric", 0.95, "ok"),
        ("apart", "coverage of a difference", 0.9, "too narrow"),
        ("same", "coverage of a metric", 0.99, "too wide"),
        ("same", "rejection", 0.07, "rejects too often"),
        ("same", "rejection", 0.01, "rejects too rarely"),
        ("apart", "rejection", 0.9, ""),
    ],
)
def test_a_verdict_follows_the_bounds(experiment, models, what, rate, expected):
    assert experiment.verdict(models, what, rate) == expected


@pytest.mark.parametrize(
    ("what", "method"),
    [
        ("coverage of a metric", "BCa"),
        ("coverage of a difference", "percentile"),
        ("rejection", "bootstrap"),
        ("rejection", "DeLong"),
        ("rejection", "McNemar"),
    ],
)
def test_what_the_tables_give_first_holds_in_the_kept_results(experiment, what, method):
    """Every AUC at 586 patients, the macro AUC also at 150, and the accuracy's test at both."""
    table = pd.read_csv(experiment.TABLE, comment="#", keep_default_na=False)
    table = table[(table["what"] == what) & (table["method"] == method) & (table["verdict"] != "")]
    macro = table["metric"].isin(["auc_ovr", "auc_ovo"])
    promised = macro | ((table["metric"] == "auc") & (table["n"] == 586)) | (method == "McNemar")
    assert promised.any()
    assert set(table["verdict"][promised]) == {"ok"}
