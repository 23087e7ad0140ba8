"""Records of explanations and audits: those of older folders, and damaged ones."""

import json

import pytest
from tiny import write_explanation

from fusion_ln.errors import RunError
from fusion_ln.explanations import AuditRecord, ExplanationRecord, read_map_tests
from fusion_ln.runs import RunFolder

OLD = {
    "run": "fusion-concat", "settings": {"head": "concat"}, "predictions": "f" * 64, "simulated": True,
    "classes": ["benign", "lymphoma"], "sides": {"2d": 96, "cdfi": 96},
    "methods": [{"name": "gradcam", "title": "Grad-CAM", "says": "Places that speak for the class."}],
    "grids": {"2d": [3, 3]}, "trust": True, "forgotten": [0.1, 0.5, 1.0], "errors": False, "named": False,
}  # fmt: skip


def test_an_explanation_of_an_older_version_is_read_and_rewritten(tmp_path):
    path = tmp_path / "explanation.json"
    path.write_text(json.dumps(OLD))
    record = ExplanationRecord.read(path)
    assert record.methods[0].description == "Places that speak for the class."
    assert record.randomized_shares == (0.1, 0.5, 1.0)
    record.write(path)
    assert ExplanationRecord.read(path) == record


def test_an_audit_is_written_as_it_was_read(tmp_path):
    path = tmp_path / "audit.json"
    cohort = {
        "name": "c", "simulated": False, "classes": ["a", "b"], "modalities": ["2d"], "patients": 9,
        "fingerprint": "0", "folds": "1", "n_folds": 2,
    }  # fmt: skip
    record = {
        "run": "baseline-2d", "kind": "baseline", "settings": {"seed": 0}, "cohort": cohort, "modalities": ["2d"],
        "regions": "rule", "examples": ["P0"], "seed": 3, "versions": {"python": "3.11"},
    }  # fmt: skip
    path.write_text(json.dumps(record))
    AuditRecord.read(path).write(path)
    assert json.loads(path.read_text()) == record


@pytest.mark.parametrize(
    ("text", "problem"), [("{", "damaged"), (json.dumps(OLD | {"trust": "perhaps"}), r"damaged \(trust: ")]
)
def test_a_damaged_record_is_named_with_its_first_problem(tmp_path, text, problem):
    path = tmp_path / "explanation.json"
    with pytest.raises(RunError, match=r"explanation\.json: is missing"):
        ExplanationRecord.read(path)
    path.write_bytes(b"\xff\xfe\x00")  # no UTF-8
    with pytest.raises(RunError, match=r"explanation\.json: damaged"):
        ExplanationRecord.read(path)
    path.write_text(text)
    with pytest.raises(RunError, match=rf"explanation\.json: {problem}"):
        ExplanationRecord.read(path)


CURVES = {"ig": [(0.9, 0.5), (0.8, 0.6)], "gradcam": [(0.7, 0.1), (0.6, 0.2)], "random": [(0.5, 0.4), (0.5, 0.4)]}


@pytest.fixture
def run(tmp_path):
    """A folder with predictions, whose content nobody reads here."""
    run = RunFolder(tmp_path)
    run.predictions.write_bytes(b"predictions")
    return run


def test_the_method_with_the_widest_gap_between_its_curves_is_trusted(run):
    assert read_map_tests(run) is None
    write_explanation(run, CURVES)
    tests = read_map_tests(run)
    assert (tests.trusted, tests.title, tests.patients) == ("gradcam", "GRADCAM", 2)
    assert tests.gain == pytest.approx((0.6 + 0.4) / 2)
    assert tests.random == pytest.approx(0.1)


def test_no_method_is_trusted_that_random_maps_equal(run):
    write_explanation(run, {**CURVES, "random": CURVES["gradcam"]})
    tests = read_map_tests(run)
    assert (tests.method, tests.trusted) == ("gradcam", None)


@pytest.mark.parametrize("changed", [{"trust": False}, {"predictions": "of another run"}, {"methods": []}])
def test_maps_that_were_not_tested_or_are_of_another_run_say_nothing(run, changed):
    write_explanation(run, CURVES, **changed)
    assert read_map_tests(run) is None


def test_an_unfinished_explanation_is_named(run):
    write_explanation(run, CURVES)
    run.explanation.maps("ig", "P1").write_bytes(b"half")
    with pytest.raises(RunError, match=r"P1.*is missing or damaged"):
        read_map_tests(run)
    run.explanation.patients.unlink()
    with pytest.raises(RunError, match="is unfinished"):
        read_map_tests(run)
