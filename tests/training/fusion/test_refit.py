"""Refits that cannot be had are refused before anything is trained."""

import pytest
from tiny import CPU, FIT, HEAD

from fusion_ln.errors import RunError
from fusion_ln.models.weights.places import begin_again
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import FinetuneSettings
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.training.fusion.refit import refit
from fusion_ln.training.run import run_baselines, run_fusions


def test_settings_of_each_fold_and_finetuned_heads_are_not_refitted(make_cohort, tmp_path):
    cohort = make_cohort(12)
    tuned = {"baseline-2d": {"folds": [{"lr": 0.001}, {"lr": 0.002}]}}
    baselines = run_baselines(cohort, ["2d", "cdfi"], FIT, tmp_path, tuned=tuned, device=CPU)
    heads = {
        "late-mean": None,
        "concat": HEAD.model_copy(update={"head": "concat", "epochs": 1, "finetune": FinetuneSettings(epochs=1)}),
    }
    late, whole = run_fusions(cohort, baselines, heads, tmp_path, device=CPU)
    for run in (baselines[0], late):
        with pytest.raises(RunError, match=r"baseline-2d: each of its folds has settings of its own(.|\n)*ensemble"):
            refit(run, cohort, CPU)
    with pytest.raises(RunError, match="how long its heads trained"):
        refit(whole, cohort, CPU)
    assert not baselines[1].fold(2).exists()


def test_networks_of_a_moved_run_begin_again_from_the_weights_beside_it(tmp_path):
    (tmp_path / "pretraining").mkdir()
    run = RunFolder(tmp_path / "baseline-2d")
    settings = BaselineSettings(modality="2d", fit=FIT.model_copy(update={"weights": "runs/pretraining"}), seed=0)
    assert begin_again(settings, run).fit.weights == str(tmp_path / "pretraining")
    for weights in ("scratch", str(tmp_path), "elsewhere/none.pth"):
        kept = settings.model_copy(update={"fit": FIT.model_copy(update={"weights": weights})})
        assert begin_again(kept, run) == kept
