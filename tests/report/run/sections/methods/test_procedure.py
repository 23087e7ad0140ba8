from fusion_ln.report.run.reading import read_results
from fusion_ln.report.run.sections.methods.procedure import learnt_table


def test_a_learnt_weight_stands_under_its_own_modality(cohort, maker):
    runs = [maker.baseline("2d"), maker.baseline("elastic"), maker.fusion("late-weighted")]  # without cdfi
    table = learnt_table(read_results(runs, cohort))
    assert list(table) == ["model", "fold", "2d", "elastic"]
    assert table[["2d", "elastic"]].to_numpy().tolist() == [[0.2, 0.3]] * 5
