import importlib.util
import sys
from pathlib import Path

import numpy as np

PATH = Path(__file__).parents[2] / "experiments" / "evidence" / "decision_coverage.py"


def test_the_experiment_covers_every_interval_it_names(monkeypatch):
    spec = importlib.util.spec_from_file_location(PATH.stem, PATH)
    experiment = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, PATH.stem, experiment)
    spec.loader.exec_module(experiment)
    for name, small in (("TRUTH_PATIENTS", 600), ("SKILLS", {"recall 0.79": np.array([2.2])})):
        monkeypatch.setattr(experiment, name, small)
    table = experiment.coverage(replicates=2, draws=20, workers=1, sizes=(100,))
    assert table["rate"].dropna().between(0, 1).all()
    figures = set(table["figure"])
    assert {"net benefit", "mean cost", "calibration slope", "presence AUC, the procedure", "ppv of a point"} <= figures
    for figure in ("net benefit", "mean cost", "auc_ovr over seeds", "recall over seeds"):
        assert {figure, f"difference in {figure}"} <= figures
    assert "# Coverage" in experiment.page(table, 2, 20, 1, 0.0)
