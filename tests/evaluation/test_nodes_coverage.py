import nodes_coverage
import pytest


def test_the_experiment_counts_every_figure_in_either_way(monkeypatch):
    monkeypatch.setattr(nodes_coverage, "TRUTH_PATIENTS", 300)
    nodes_coverage.truth.cache_clear()
    job = (next(iter(nodes_coverage.SKILLS)), 60, 0.5, 1, 20, 0)
    hits = [hit for replicate in nodes_coverage.PASSES.values() for hit in replicate(job)]
    nodes_coverage.truth.cache_clear()
    nodes_coverage.calibration_truth.cache_clear()
    found = {(way, figure) for _, _, _, way, figure, _, _ in hits}
    figures = {metric.name for metric in nodes_coverage.FIGURES} | {"DeLong rejects", "McNemar rejects"}
    figures |= {"calibration intercept", "calibration slope"}
    assert {figure for way, figure in found if way == nodes_coverage.NAIVE} == figures
    assert {figure for way, figure in found if way == nodes_coverage.OURS} >= figures
    assert all(hit in (0, 1) or hit != pytest.approx(hit) for *_, hit in hits)
