"""Figures of another cohort: each from its definition, each interval by the formula of the pages."""

import numpy as np
import pandas as pd
import pytest

from fusion_ln.errors import PredictionsError, SettingsError
from fusion_ln.evaluation.external.answers import read_answers, tabulate_answers
from fusion_ln.evaluation.external.figures import PointEstimate, endpoint_names, score_external
from fusion_ln.evaluation.external.points import learn_points
from fusion_ln.evaluation.external.protocol import EvaluationProtocol, read_protocol
from fusion_ln.evaluation.intervals import metric_intervals
from fusion_ln.evaluation.limits.shares import share_interval
from fusion_ln.files.formats import write_parquet

CLASSES = ("benign", "lymphoma", "metastatic")


def draw(rng, n=240, sharpness=1.0):
    labels = rng.integers(0, 3, n)
    logits = sharpness * (rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[labels])
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, probs


def answers_of(labels, probs, groups=None):
    patients = np.array([f"P{n:04d}" for n in range(len(probs))])
    levels = {name: pd.Series(values, index=patients) for name, values in (groups or {}).items()}
    member = probs > 0.2
    given = {"labels": labels, "groups": levels}
    return tabulate_answers(CLASSES, patients, probs, member, probs, ["2d"] * len(probs), **given)


@pytest.fixture
def other(rng):
    labels, probs = draw(rng)
    return answers_of(labels, probs), learn_points(CLASSES, *draw(rng, 600))


def test_figures_are_those_of_the_pages(other):
    answers, points = other
    found = score_external(answers, points)
    table = metric_intervals(answers.predictions, n_resamples=2).set_index(["metric", "class"])
    for name, estimate in {("auc_ovr", "all"): found.auc_ovr, ("auc", "lymphoma"): found.auc["lymphoma"]}.items():
        expected = table.loc[name, ["value", "ci_low", "ci_high"]].tolist()
        assert [estimate.value, estimate.low, estimate.high] == pytest.approx(expected)


def test_coverage_and_drift_count_patients(other):
    answers, points = other
    found = score_external(answers, points)
    labels, probs = answers.predictions.labels, answers.probs
    own = labels == 1
    hits = int((probs[own, 1] > 0.2).sum())
    assert (found.coverage["lymphoma"].hits, found.coverage["lymphoma"].n) == (hits, own.sum())
    assert (found.coverage["lymphoma"].low, found.coverage["lymphoma"].high) == share_interval(hits, int(own.sum()))
    result = found.operating_points[0]
    flagged = 1 - probs[:, 0] >= points[0].threshold
    assert result.sensitivity.value == pytest.approx(flagged[labels > 0].mean())
    assert result.specificity.value == pytest.approx((~flagged)[labels == 0].mean())
    drift = result.sensitivity_drift
    assert drift.value == pytest.approx(result.sensitivity.value - points[0].sensitivity.value)
    assert drift.low < drift.value < drift.high


def test_a_model_too_sure_by_a_factor_has_that_slope(rng):
    """Probabilities sharpened by two: the slope is 1/2 of what it was."""
    labels, probs = draw(rng, 3000)
    plain = score_external(answers_of(labels, probs), ()).slope["benign"].value
    logit = np.log(probs / (1 - probs))
    assert plain == pytest.approx(np.polyfit(logit[:, 0], logit[:, 0], 1)[0] * plain)
    sharper = 1 / (1 + np.exp(-2 * logit))
    doubled = score_external(answers_of(labels, np.column_stack([sharper[:, 0], *[(1 - sharper[:, 0]) / 2] * 2])), ())
    assert doubled.slope["benign"].value == pytest.approx(plain / 2, rel=1e-3)


def test_every_endpoint_that_a_protocol_may_name_is_found(other):
    answers, points = other
    assert set(endpoint_names(CLASSES, points)) == set(score_external(answers, points).endpoints())


def test_a_class_of_one_patient_is_refused(rng):
    labels, probs = draw(rng, 30)
    labels[:] = np.r_[0, [1, 2] * 14, 1]
    with pytest.raises(PredictionsError, match="class 'benign' has 1 of the 30"):
        score_external(answers_of(labels, probs), ())


@pytest.mark.parametrize(
    ("endpoint", "margin", "estimate", "verdict"),
    [
        ("auc_ovr", 0.8, (0.9, 0.8, 0.95), "met"),
        ("auc_ovr", 0.8, (0.85, 0.79, 0.95), "not shown"),
        ("auc_ovr", 0.8, (0.7, 0.6, 0.79), "not met"),
        ("auc_ovr", 0.8, (0.9, None, None), "not shown"),
        ("slope:benign", 0.2, (1.0, 0.81, 1.19), "met"),
        ("slope:benign", 0.2, (1.1, 0.9, 1.3), "not shown"),
        ("intercept:benign", 0.2, (-0.5, -0.8, -0.25), "not met"),
    ],
)
def test_a_margin_is_met_by_the_whole_interval_alone(endpoint, margin, estimate, verdict):
    found = PointEstimate.of(*estimate)
    assert EvaluationProtocol(endpoint=endpoint, margin=margin).judge(found) == verdict


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('endpoint = "auc_over"\nmargin = 0.8', "auc_over: unknown endpoint(.|\n)*Did you mean 'auc_ovr'"),
        ('endpoint = "auc_ovr"', "margin: is missing"),
        ('endpoint = "auc_ovr"\nmargin = "high"', "margin: 'high'"),
        ('endpoint = "auc_ovr"\nmargin = 1.2', "never exceeds 1"),
        ('endpoint = "auc_ovr"\nmargin = 0.8\nsubgroup = ["site"]', "Did you mean 'subgroups'"),
        ("endpoint = auc", "not valid TOML"),
    ],
)
def test_a_protocol_that_cannot_be_kept_is_refused(tmp_path, text, message):
    (tmp_path / "protocol.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_protocol(tmp_path / "protocol.toml", ["auc_ovr"])


def test_the_hash_of_a_protocol_is_that_of_its_file(tmp_path):
    import hashlib

    text = 'endpoint = "auc_ovr"\nmargin = 0.8\nsubgroups = ["site"]\n'
    (tmp_path / "protocol.toml").write_text(text)
    found = read_protocol(tmp_path / "protocol.toml", ["auc_ovr"])
    assert found.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert found.content.subgroups == ("site",)


def test_answers_survive_their_file_and_a_damaged_one_is_refused(rng, tmp_path):
    labels, probs = draw(rng, 9)
    for given in (labels, None):
        answers = answers_of(given, probs, {"site": ["A", None, "B"] * 3})
        write_parquet(tmp_path / "a.parquet", answers.table)
        again = read_answers(tmp_path / "a.parquet")
        pd.testing.assert_frame_equal(again.table, answers.table)
        assert again.has_labels == (given is not None)
        assert list(again.groups) == ["site"]
    write_parquet(tmp_path / "b.parquet", answers.table.drop(columns="set_benign"))
    with pytest.raises(PredictionsError, match="no column 'set_benign'"):
        read_answers(tmp_path / "b.parquet")
