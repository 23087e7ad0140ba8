import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
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
    for name, small in (("SIZES", (100,)), ("UNSTABLE_SIZES", (240,)), ("TEST_SIZES", (60,)), ("PERMUTATIONS", 9)):
        monkeypatch.setattr(experiment, name, small)
    monkeypatch.setattr(experiment, "TRUTH_PATIENTS", 300)
    monkeypatch.setattr(experiment, "MODELS", {"same": experiment.MODELS["same"]})
    table = experiment.calibrate(replicates=2, draws=20, seed=0)
    assert table["rate"].dropna().between(0, 1).all()
    methods = table.groupby("what")["method"].unique().map(set).to_dict()
    assert methods["coverage of a metric"] == {"printed", "before", "these trainings", "procedure"}
    assert methods["rejection"] == {"DeLong", "macro DeLong", "permutation", "McNemar"}
    assert len(methods["family"]) == 7
    claimed = ~table["method"].isin(["before", "procedure"]) & table["rate"].notna()
    assert ((table["verdict"] != "") == claimed).all()


@pytest.mark.parametrize(
    ("what", "method", "rate", "expected"),
    [
        ("coverage of a metric", "printed", 0.95, "ok"),
        ("coverage of a difference", "printed", 0.92, "too narrow"),
        ("coverage of a metric", "these trainings", 0.99, "wide"),
        ("coverage of a metric", "before", 0.65, ""),
        ("rejection", "DeLong", 0.07, "rejects too often"),
        ("rejection", "McNemar", 0.01, "rejects too rarely"),
        ("family", "Holm", 0.01, "ok"),
        ("coverage of a metric", "printed", np.nan, ""),
    ],
)
def test_a_verdict_follows_the_bounds(experiment, what, method, rate, expected):
    assert experiment.verdict(what, method, rate) == expected


def test_what_the_tables_print_holds_in_the_kept_results(experiment):
    """A rate below 0.93 is within two standard errors of it and rare, the page names it, nothing rejects too often."""
    table = pd.read_csv(experiment.TABLE, comment="#", keep_default_na=False)
    printed = table[table["method"].isin(["printed", "these trainings"])]
    assert {30, 100, 150, 586} <= set(printed["n"])
    assert {"recall 0.9", "recall 0.95", "unstable"} <= set(printed["models"])
    narrow = printed[printed["verdict"] == "too narrow"].astype({"rate": float, "standard_error": float})
    assert (narrow["rate"] + 2 * narrow["standard_error"] >= 0.93).all()
    assert len(narrow) <= 0.01 * len(printed)
    page = experiment.TABLE.with_suffix(".md").read_text()
    assert f"rates {len(narrow)} lie below" in page
    assert all(f"{row['metric']}, {row['class']}: {row['rate']}" in page for row in narrow.to_dict("records"))
    assert not (table["verdict"] == "rejects too often").any()
    assert (table["verdict"][table["what"] == "family"] == "ok").all()
