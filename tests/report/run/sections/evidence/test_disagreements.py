from fusion_ln.report.run.sections.evidence.disagreements import disagreements


def test_disagreements_are_those_counted_by_hand_widest_gap_first(results):
    a, b = results.headline
    predicted = [m.predictions.probs.argmax(axis=1) for m in (a, b)]
    table = disagreements(results)
    assert len(table) == (predicted[0] != predicted[1]).sum() > 0
    assert table["gain"].abs().is_monotonic_decreasing
