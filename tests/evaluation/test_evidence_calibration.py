import evidence_calibration
import evidence_models
import evidence_tests
import numpy as np
import pandas as pd
import pytest


def test_the_experiment_runs_and_judges_every_method(monkeypatch):
    for name, small in (("SIZES", (100,)), ("UNSTABLE_SIZES", (240,)), ("TEST_SIZES", (60,))):
        monkeypatch.setattr(evidence_calibration, name, small)
    monkeypatch.setattr(evidence_tests, "SWAPS", 9)
    monkeypatch.setattr(evidence_models, "TRUTH_PATIENTS", 300)
    monkeypatch.setattr(evidence_calibration, "MODELS", {"same": evidence_models.MODELS["same"]})
    table = evidence_calibration.calibrate(replicates=2, draws=20, seed=0)
    assert table["rate"].dropna().between(0, 1).all()
    methods = table.groupby("what")["method"].unique().map(set).to_dict()
    assert methods["coverage of a metric"] == {"printed", "before", "these trainings", "procedure"}
    tests = {f"{test}, {of}" for test in ("swaps", "DeLong") for of in ("a class", "mean AUC")}
    assert methods["rejection"] == tests | {"McNemar"}
    assert len(methods["family"]) == 7
    claimed = ~table["method"].str.contains("before|procedure|DeLong") & table["rate"].notna()
    assert ((table["verdict"] != "") == claimed).all()


@pytest.mark.parametrize(
    ("what", "method", "rate", "expected"),
    [
        ("coverage of a metric", "printed", 0.95, "ok"),
        ("coverage of a difference", "printed", 0.92, "too narrow"),
        ("coverage of a metric", "these trainings", 0.99, "wide"),
        ("coverage of a metric", "before", 0.65, ""),
        ("rejection", "swaps, a class", 0.07, "rejects too often"),
        ("rejection", "DeLong, a class", 0.01, ""),
        ("rejection", "McNemar", 0.01, "rejects too rarely"),
        ("family", "Holm", 0.01, "ok"),
        ("coverage of a metric", "printed", np.nan, ""),
    ],
)
def test_a_verdict_follows_the_bounds(what, method, rate, expected):
    assert evidence_calibration.verdict(what, method, rate) == expected


def test_what_the_tables_print_holds_in_the_kept_results():
    """A rate below 0.93 is within two standard errors of it and rare, the page names it, no test rejects too often."""
    table = pd.read_csv(evidence_calibration.TABLE, comment="#", keep_default_na=False)
    printed = table[table["method"].isin(["printed", "these trainings"])]
    assert {30, 100, 150, 586} <= set(printed["n"])
    assert {"recall 0.9", "recall 0.95", "unstable"} <= set(printed["models"])
    narrow = printed[printed["verdict"] == "too narrow"].astype({"rate": float, "standard_error": float})
    assert (narrow["rate"] + 2 * narrow["standard_error"] >= 0.93).all()
    assert len(narrow) <= 0.01 * len(printed)
    page = evidence_calibration.TABLE.with_suffix(".md").read_text()
    assert f"rates {len(narrow)} lie below" in page
    assert all(f"{row['metric']}, {row['class']}: {row['rate']}" in page for row in narrow.to_dict("records"))
    often = table[table["verdict"] == "rejects too often"].astype({"rate": float, "standard_error": float})
    assert (often["rate"] - 2 * often["standard_error"] <= 0.06).all()
    assert set(often["n"]) <= {evidence_calibration.MANY}  # of few replicates
    assert (table["verdict"][table["what"] == "family"] == "ok").all()
