import nodes_coverage
import pytest


def test_the_experiment_counts_every_figure_in_either_way(monkeypatch):
    monkeypatch.setattr(nodes_coverage, "TRUTH_PATIENTS", 300)
    nodes_coverage.truth.cache_clear()
    hits = nodes_coverage.replicate((next(iter(nodes_coverage.SKILLS)), 60, 0.5, 1, 20, 0))
    nodes_coverage.truth.cache_clear()
    found = {(way, figure) for _, _, _, way, figure, _, _ in hits}
    figures = {metric.name for metric in nodes_coverage.FIGURES} | {"DeLong rejects", "McNemar rejects"}
    assert {figure for way, figure in found if way == nodes_coverage.NAIVE} == figures
    assert {figure for way, figure in found if way == nodes_coverage.OURS} >= figures
    assert all(hit in (0, 1) or hit != pytest.approx(hit) for *_, hit in hits)
