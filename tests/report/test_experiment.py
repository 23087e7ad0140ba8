import json

from fusion_ln.predictions import read_predictions, write_predictions
from fusion_ln.report.experiment import Heading, write_runs


def test_inner_validation_chooses_the_fusion_that_leads_not_the_held_out_patients(maker, cohort, tmp_path):
    runs = [maker.baseline("2d"), maker.fusion("late-mean"), maker.fusion("late-logit", gain=0.8)]
    weak, strong = runs[0], runs[1]
    write_predictions(runs[2].inner_predictions, read_predictions(weak.predictions))
    rivals = [run.name for run in (runs[2], strong)]
    write_runs(tmp_path, runs, cohort, Heading("Which?", "Which leads?"), chosen_from=rivals)
    assert json.loads((tmp_path / "report.json").read_text())["runs"][0] == f"runs/{strong.name}"
    assert "does best of" in (tmp_path / "report.html").read_text()
