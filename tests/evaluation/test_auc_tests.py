import auc_tests
import numpy as np
import pandas as pd


def test_the_experiment_runs_and_its_page_has_every_row(monkeypatch, tmp_path):
    monkeypatch.setattr(auc_tests, "SWAPS", 9)
    jobs = [(name, 60, "0.9", 2) for name in auc_tests.KINDS] + [(auc_tests.PLAIN, 1000, "0.33", 1)]
    table = pd.DataFrame([row for job in jobs for row in auc_tests.replicate(job)])
    assert table["rate"].between(0, 1).all()
    tests = table[table["of"] == "mean"].groupby(["models", "patients"])["test"].agg(set).to_dict()
    assert tests.pop((auc_tests.PLAIN, 60)) == {auc_tests.PRINTED, auc_tests.DELONG, auc_tests.RANKS}
    assert tests.pop((auc_tests.PLAIN, 1000)) == {auc_tests.DELONG}
    assert set(map(frozenset, tests.values())) == {frozenset({auc_tests.PRINTED})}
    path = tmp_path / "table.csv"
    path.write_text("# made\n" + table.to_csv(index=False))
    assert all(f"| {name} | 60 | printed |" in auc_tests.write_page(path) for name in auc_tests.KINDS)


def test_skills_give_the_recalls_that_they_stand_for(rng):
    skills = np.array([0.0, 1.5, 3.0])
    drawn = rng.normal(size=(40_000, 3))
    found = [np.mean((drawn + k * np.eye(3)[0]).argmax(axis=1) == 0) for k in skills]
    assert np.abs(auc_tests.recall_of(skills, 3) - found).max() < 0.01


def test_the_printed_test_keeps_its_level_in_the_kept_results():
    """Of the mean AUC, within two standard errors; single classes never reject more often than that."""
    table = pd.read_csv(auc_tests.TABLE, comment="#")
    printed = table[table["test"] == "printed"]
    error = 2 * np.sqrt(0.05 * 0.95 / 2000)
    assert (printed["rate"] <= 0.06 + error).all()
    assert (printed["rate"][printed["of"] == "mean"] >= 0.04 - error).all()
    large = table[(table["test"] == "DeLong") & (table["patients"] >= 1000)]
    assert large["rate"].between(0.04 - error, 0.06 + error).all()
