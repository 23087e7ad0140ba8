from fusion_ln.predictions import read_predictions, write_predictions
from fusion_ln.report.experiment import lead_with_best


def test_inner_validation_chooses_the_run_that_leads_not_the_held_out_patients(maker, cohort):
    runs = [maker.baseline(modality) for modality in ("2d", "cdfi", "elastic")]  # elastography is the best within
    weak, strong = (read_predictions(run.predictions) for run in (runs[0], runs[2]))
    write_predictions(runs[0].predictions, strong)
    write_predictions(runs[2].predictions, weak)
    [chosen, other] = lead_with_best([runs, runs], ["baseline-2d", "baseline-elastic"], cohort)
    assert [run.name for run in chosen] == ["baseline-elastic", "baseline-2d", "baseline-cdfi"]
    assert other == chosen
