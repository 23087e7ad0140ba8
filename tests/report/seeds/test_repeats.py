"""Page over the repeats: its sentences against the tables beside it, and what it says without intervals."""

import pandas as pd
import pytest

from fusion_ln.errors import RunError
from fusion_ln.report.kit.style import number, signed, signed_spread
from fusion_ln.report.run.reading import read_results
from fusion_ln.report.seeds.repeats import write_repeats


@pytest.fixture(scope="module")
def results(repeated):
    return [read_results(runs, cohort) for cohort, runs in repeated]


def test_the_page_answers_for_the_procedure_beside_these_trainings(results, tmp_path):
    page = write_repeats(tmp_path, results, title="steps", question="Which of them?")
    text, tables = page.read_text(), page.parent / "tables"
    values, gaps = (pd.read_csv(tables / f"{name}_over_repeats.csv") for name in ("metrics", "differences"))
    value = values.query("metric == 'auc_ovr' and model == 'fusion-late-mean'").iloc[0]
    gap = gaps.query("metric == 'auc_ovr' and model == 'fusion-late-mean'").iloc[0]
    assert f"AUC {number(value['value'])} in the mean of 10 held-out folds" in text
    assert f"{signed(gap['difference'])} ({signed_spread(gap['ci_low'], gap['ci_high'])}) against the best" in text
    assert signed_spread(gap["given_low"], gap["given_high"]) in text
    assert "The procedure at this training size" in text
    assert "Given these trainings" in text
    folds = pd.read_csv(tables / "folds_of_repeats.csv")
    assert folds.query("model == 'fusion-late-mean'")["auc_ovr"].mean() == pytest.approx(value["value"])
    assert "SIMULATED" in text


def test_one_model_alone_has_a_page_and_few_patients_no_interval(seeded, tmp_path, undrawn):
    cohort, runs = seeded
    alone = [read_results([run], cohort) for run in (runs[0], runs[6])]
    text = write_repeats(tmp_path, alone, title="alone", question="").read_text()
    assert "No interval of the procedure at this training size" in text
    assert "holds out 2 patients of class lymphoma" in text


def test_repeats_of_other_models_are_refused(repeated, results):
    cohort, runs = repeated[1]
    with pytest.raises(RunError, match="fusion-late-mean is in one of them only"):
        write_repeats(runs[0].root, [results[0], read_results(runs[:2], cohort)], title="", question="")
