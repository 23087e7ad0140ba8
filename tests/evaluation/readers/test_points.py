import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from fusion_ln.decode.readers import Reader
from fusion_ln.evaluation.readers.agreement import agreement
from fusion_ln.evaluation.readers.agreement import fleiss_kappa as own_fleiss
from fusion_ln.evaluation.readers.points import reader_points
from fusion_ln.predictions import predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")
N = 90


@pytest.fixture
def predictions(rng):
    labels = np.arange(N) % 3
    logits = rng.normal(size=(N, 3)) + np.eye(3)[labels]
    return predictions_from_logits(CLASSES, [f"P{i:02d}" for i in range(N)], np.zeros(N), labels, logits)


@pytest.fixture
def readers(rng, predictions):
    names = np.array(CLASSES, dtype=object)
    found = []
    for number in range(3):
        scores = rng.normal(size=(N, 3)) + np.eye(3)[predictions.labels]
        calls = pd.Series(names[scores.argmax(axis=1)], index=predictions.patients)
        steps = pd.Series(np.digitize(scores[:, 1], [-1, 0, 1, 2]) + 1.0, index=predictions.patients)
        found.append(Reader(f"R{number}", calls[10 * number :], {"lymphoma": steps[10 * number :]}))
    return found


def test_each_reader_is_compared_on_the_patients_who_were_read(predictions, readers):
    table = reader_points(predictions, readers).set_index(["reader", "measure", "class"])
    shown = predictions.of(readers[2].calls.index)
    truth, model = np.array(CLASSES)[shown.labels], np.array(CLASSES)[shown.probs.argmax(axis=1)]
    calls = readers[2].calls.to_numpy()
    of_class = truth == "metastatic"
    row = table.loc["R2", "sensitivity", "metastatic"]
    assert row["patients"] == of_class.sum()
    assert row["value"] == pytest.approx((calls == "metastatic")[of_class].mean())
    assert row["model"] == pytest.approx((model == "metastatic")[of_class].mean())
    wins = ((model == "metastatic") & (calls != "metastatic"))[of_class].sum()
    losses = ((model != "metastatic") & (calls == "metastatic"))[of_class].sum()
    assert row["difference"] == pytest.approx((wins - losses) / of_class.sum())
    assert row["p"] == pytest.approx(binomtest(int(wins), int(wins + losses)).pvalue)
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    assert table.loc["R2", "accuracy", "all"]["patients"] == N - 20
    auc = table.loc["R2", "auc", "lymphoma"]
    assert auc["value"] == pytest.approx(roc_auc_score(truth == "lymphoma", readers[2].suspicion["lymphoma"]))
    assert auc["model"] == pytest.approx(roc_auc_score(truth == "lymphoma", shown.probs[:, 1]))
    assert auc["ci_low"] < auc["value"] < auc["ci_high"]
    assert ("R2", "auc", "benign") not in table.index


def test_a_class_with_few_patients_has_a_value_and_no_interval(predictions, readers):
    few = Reader("R", readers[0].calls[:12], {"lymphoma": readers[0].suspicion["lymphoma"][:12]})
    table = reader_points(predictions, [few]).set_index(["measure", "class"])
    auc = table.loc["auc", "lymphoma"]
    assert auc["value"] == pytest.approx(roc_auc_score(predictions.labels[:12] == 1, few.suspicion["lymphoma"]))
    assert np.isnan(auc["ci_low"])
    assert np.isnan(table.loc["sensitivity", "lymphoma"]["p"])
    assert table.loc["accuracy", "all"]["p"] <= 1


def test_kappas_are_those_of_scikit_learn_and_statsmodels(predictions, readers):
    table = agreement(predictions, readers).set_index(["a", "b"])
    both = readers[2].calls.index
    model = pd.Series(np.array(CLASSES)[predictions.probs.argmax(axis=1)], index=predictions.patients)
    for (a, b), one, other in (
        (("R0", "R2"), readers[0].calls, readers[2].calls),
        (("R2", "model"), readers[2].calls, model),
    ):
        row = table.loc[a, b]
        assert row["kappa"] == pytest.approx(cohen_kappa_score(one[both], other[both]))
        assert row["patients"] == len(both)
        left_out = [cohen_kappa_score(one[both].drop(p), other[both].drop(p)) for p in both]
        error = np.sqrt((len(both) - 1) * np.var(left_out))
        assert np.arctanh(row["ci_high"]) - np.arctanh(row["kappa"]) == pytest.approx(
            1.995 * error / (1 - row["kappa"] ** 2), rel=1e-3
        )
    calls = np.stack([reader.calls[both].map(CLASSES.index) for reader in readers], axis=1)
    assert table.loc["all readers", ""]["kappa"] == pytest.approx(fleiss_kappa(aggregate_raters(calls)[0]))
    assert np.isnan(table.loc["all readers", ""]["ci_low"])  # 70 patients are too few
    twice = np.tile(calls, (2, 1))
    without = [fleiss_kappa(aggregate_raters(np.delete(twice, i, axis=0), 3)[0]) for i in range(len(calls))]
    kappa, _, high = own_fleiss(twice, 3)
    error = np.sqrt((len(twice) - 1) * np.var(without))
    assert np.arctanh(high) - np.arctanh(kappa) == pytest.approx(1.977 * error / (1 - kappa**2), rel=1e-3)


def test_readers_who_give_all_one_class_have_no_kappa(predictions):
    same = pd.Series("benign", index=predictions.patients)
    table = agreement(predictions, [Reader("A", same, {}), Reader("B", same, {})])
    assert np.isnan(table["kappa"].iloc[0])
