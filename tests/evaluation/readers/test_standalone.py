"""The stand-alone test against the papers' formulas, written out in loops, and its size on simulated readers."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fusion_ln.decode.readers import Reader
from fusion_ln.evaluation.readers.standalone import stand_alone, stand_alone_test
from fusion_ln.predictions import predictions_from_logits

CLASSES = ("benign", "malignant")


def placement(score: float, others: np.ndarray, *, above: bool) -> float:
    """Share of the others that a score lies above (or below), ties counting half."""
    wins = sum(1.0 if (score > other) == above and score != other else 0.5 * (score == other) for other in others)
    return wins / len(others)


def plain_obuchowski_rockette(values: np.ndarray, positive: np.ndarray) -> dict[str, float]:
    """Obuchowski-Rockette with one treatment on AUC(reader) - AUC(model); DeLong covariances. Model in row 0."""
    n_readers = len(values) - 1
    yes = [[placement(s, row[~positive], above=True) for s in row[positive]] for row in values]
    no = [[placement(s, row[positive], above=False) for s in row[~positive]] for row in values]
    aucs = [np.mean(row) for row in yes]

    def cov(a: int, b: int) -> float:
        total = 0.0
        for parts in (yes, no):
            m = len(parts[a])
            total += sum((x - aucs[a]) * (y - aucs[b]) for x, y in zip(parts[a], parts[b], strict=True)) / (m - 1) / m
        return total

    psi = [aucs[j] - aucs[0] for j in range(1, n_readers + 1)]
    mean = sum(psi) / n_readers
    msr = sum((each - mean) ** 2 for each in psi) / (n_readers - 1)
    pairs = [(i, j) for i in range(1, n_readers + 1) for j in range(1, n_readers + 1) if i != j]
    cov2 = sum(cov(i, j) - cov(i, 0) - cov(0, j) + cov(0, 0) for i, j in pairs) / len(pairs)
    denominator = msr + max(n_readers * cov2, 0)
    t = -mean / (denominator / n_readers) ** 0.5
    hillis = denominator**2 / (msr**2 / (n_readers - 1))
    shared = denominator - msr
    df = (n_readers - 1) * (1 + shared**2 / (msr * (msr + shared)))
    df = 1 / (1 / df + (shared / denominator) ** 2 / plain_df_of_cases(yes, no))
    return {"difference": -mean, "t": t, "df": df, "hillis_df": hillis, "hillis_p": 2 * stats.t.sf(abs(t), hillis)}


def plain_df_of_cases(*parts: list[list[float]]) -> float:
    """Satterthwaite: twice the squared variance over the variance of the estimated one, each group's by kurtosis."""
    variance = uncertainty = 0.0
    for group in parts:
        m = len(group[0])
        each = [sum(row[i] for row in group[1:]) / (len(group) - 1) - group[0][i] for i in range(m)]
        spread = stats.moment(each, 2) / (m - 1)
        variance += spread
        uncertainty += spread**2 * (2 / (m - 1) + max(stats.kurtosis(each), 0) / m)
    return 2 * variance**2 / uncertainty


def build(rng, n_readers: int, *, unread: int = 0):
    """A model and readers with suspicion 1 to 5 and calls; reader 0 did not read the first patients."""
    labels = np.arange(60) % 2
    patients = [f"P{i:02d}" for i in range(60)]
    logits = rng.normal(size=(60, 2)) + 0.9 * np.eye(2)[labels]
    readers = []
    for number in range(n_readers):
        steps = np.digitize(labels + rng.normal(0, 0.9, 60), [-0.5, 0.2, 0.7, 1.4]) + 1.0
        read = slice(unread if number == 0 else 0, None)
        calls = pd.Series(np.where(steps > 2, *CLASSES[::-1]), index=patients, dtype=object)
        readers.append(Reader(f"R{number}", calls[read], {"malignant": pd.Series(steps, index=patients)[read]}))
    return predictions_from_logits(CLASSES, patients, np.zeros(60), labels, logits), readers


@pytest.mark.parametrize(("n_readers", "unread"), [(3, 0), (5, 7)])
def test_test_of_auc_is_that_of_the_papers(rng, n_readers, unread):
    predictions, readers = build(rng, n_readers, unread=unread)
    table = stand_alone(predictions, readers).set_index(["measure", "class"])
    row = table.loc["auc", "malignant"]
    read = readers[0].calls.index
    shown = predictions.of(read)
    values = np.stack([shown.probs[:, 1], *(r.suspicion["malignant"][read].to_numpy() for r in readers)])
    expected = plain_obuchowski_rockette(values, shown.labels == 1)
    for name, value in expected.items():
        assert row[name] == pytest.approx(value)
    assert (row["readers"], row["patients"]) == (n_readers, 60 - unread)
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(expected["t"]), row["df"]))
    half = stats.t.ppf(0.975, row["df"]) * expected["difference"] / expected["t"]
    assert row["ci_high"] - row["ci_low"] == pytest.approx(2 * half)
    calls = np.stack([CLASSES[1] == r.calls[read].to_numpy() for r in readers])
    assert table.loc["sensitivity", "malignant"]["readers_mean"] == pytest.approx(calls[:, shown.labels == 1].mean())


def test_two_readers_or_a_handful_of_patients_are_not_tested(rng):
    predictions, readers = build(rng, 3)
    assert stand_alone(predictions, readers[:2]).empty
    few = [Reader(r.name, r.calls[:8], {"malignant": r.suspicion["malignant"][:8]}) for r in readers]
    assert stand_alone(predictions, few).empty


def test_readers_who_hardly_err_are_shown_without_a_test(rng):
    predictions, readers = build(rng, 3)
    labels, patients = predictions.labels, predictions.patients
    sure = pd.Series(np.array(CLASSES)[labels], index=patients)
    perfect = predictions_from_logits(CLASSES, list(patients), np.zeros(60), labels, 9.0 * np.eye(2)[labels])
    table = stand_alone(perfect, [Reader(f"R{i}", sure, {}) for i in range(3)]).set_index("measure")
    assert table.loc["accuracy", "readers_mean"] == 1
    assert table[["ci_low", "t", "p", "hillis_p"]].isna().all(axis=None)
    assert stand_alone(predictions, readers).query("measure == 'accuracy'")["p"].notna().all()


def test_where_nothing_varies_there_is_no_interval_and_no_test():
    found = stand_alone_test(np.ones(4), np.zeros((4, 20)), np.ones(20))
    assert found.difference == 0
    assert np.isnan([found.ci_low, found.ci_high, found.p, found.hillis_p]).all()


def test_without_ordered_suspicion_there_is_no_auc(rng):
    predictions, readers = build(rng, 3)
    table = stand_alone(predictions, [Reader(r.name, r.calls, {}) for r in readers])
    assert set(table["measure"]) == {"accuracy", "sensitivity", "specificity"}
