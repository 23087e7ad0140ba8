"""Page of a learning curve: its sentence and figures against the tables beside it."""

import pandas as pd
import pytest

from fusion_ln.cohort.draws import draw_fractions
from fusion_ln.errors import RunError
from fusion_ln.report.kit.style import number, signed_spread
from fusion_ln.report.learning_curve import training_patients, write_learning_curve
from fusion_ln.report.run.reading import read_results


@pytest.fixture(scope="module")
def parts(seeded):
    """Runs whose predictions stand for parts: which patients were trained on is not in them."""
    cohort, runs = seeded
    first, second = (read_results(part, cohort) for part in (runs[:6], runs[6:]))
    return {1.0: first, 0.5: second, 0.25: first, 0.125: second}


def test_the_page_says_what_twice_the_patients_buy(parts, tmp_path, monkeypatch):
    counts = iter([48.0, 24.0, 12.0, 6.0])
    monkeypatch.setattr("fusion_ln.report.learning_curve.training_patients", lambda cohort: next(counts))
    page = write_learning_curve(tmp_path, parts, title="steps", question="More?")
    text, tables = page.read_text(), tmp_path / "tables"
    further = pd.read_csv(tables / "learning_curve_extrapolated.csv")
    row = further.query("model == 'fusion-late-mean' and times == 2").iloc[0]
    assert row["patients"] == 96
    assert signed_spread(row["gain_low"], row["gain_high"]) in text
    assert number(row["auc"]) in text
    points = pd.read_csv(tables / "learning_curve.csv").query("model == 'fusion-late-mean'")
    assert points["patients"].tolist() == [6, 12, 24, 48]
    assert all(number(auc) in text for auc in points["auc"])
    assert text.count("<svg") == 1
    assert "SIMULATED" in text


def test_three_parts_give_a_curve_without_an_interval(parts, tmp_path, monkeypatch):
    counts = iter([48.0, 24.0, 12.0])
    monkeypatch.setattr("fusion_ln.report.learning_curve.training_patients", lambda cohort: next(counts))
    three = {part: parts[part] for part in (1.0, 0.5, 0.25)}
    text = write_learning_curve(tmp_path, three, title="", question="").read_text()
    further = pd.read_csv(tmp_path / "tables" / "learning_curve_extrapolated.csv")
    assert further[["ci_low", "ci_high", "gain_low", "gain_high"]].isna().all(axis=None)
    assert further["gain"].notna().all()
    assert "without an interval: this is a guess" in text
    assert "4 parts or more" in text


def test_training_patients_are_counted_by_fold(seeded, tmp_path):
    cohort, _ = seeded
    half = draw_fractions(cohort, tmp_path, fractions=(0.5, 0.25), seed=0)[2].cohort
    assert training_patients(cohort) == 48
    assert training_patients(half) == pytest.approx(24, abs=2)


def test_a_part_without_a_model_is_refused(seeded, parts, tmp_path):
    cohort, runs = seeded
    with pytest.raises(RunError, match=r"fusion-concat: not trained on the part 0\.5"):
        write_learning_curve(tmp_path, {**parts, 0.5: read_results(runs[6:11], cohort)}, title="", question="")
