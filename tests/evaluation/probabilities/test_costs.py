import numpy as np
import pytest

from fusion_ln.errors import FusionLNError
from fusion_ln.evaluation.probabilities.costs import (
    LEAST_COST,
    MOST_PROBABLE,
    cost_difference,
    decided,
    mean_costs,
    parse_costs,
)
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")


def model(n: int = 90, skill: float = 1.2, seed: int = 0) -> Predictions:
    labels = np.arange(n) % 3
    logits = np.random.default_rng(seed).normal(size=(n, 3)) + skill * np.eye(3)[labels]
    return predictions_from_logits(CLASSES, [f"P{i:04d}" for i in range(n)], np.arange(n) % 4, labels, logits)


def test_named_mistakes_cost_what_is_said_all_others_one():
    costs = parse_costs("metastatic:benign=10, lymphoma:benign=8", CLASSES)
    assert costs.matrix.tolist() == [[0, 1, 1], [8, 0, 1], [10, 1, 0]]
    assert costs.decisions == CLASSES


def test_a_table_may_decide_on_actions(tmp_path):
    path = tmp_path / "costs.csv"
    path.write_text("truth;biopsy;wait\nMetastatic;1;10,5\nbenign;1;0\nlymphoma;1;8\n")
    costs = parse_costs(str(path), CLASSES)
    assert costs.decisions == ("biopsy", "wait")
    assert costs.matrix.tolist() == [[1, 0], [1, 8], [1, 10.5]]
    assert costs.decide(np.array([[0.95, 0.02, 0.03], [0.5, 0.2, 0.3]])).tolist() == [1, 0]


def test_columns_named_as_the_classes_are_taken_in_the_order_of_the_labels(tmp_path):
    path = tmp_path / "costs.csv"
    path.write_text("truth,metastatic,benign,lymphoma\nbenign,1,0,2\nlymphoma,3,4,0\nmetastatic,0,6,5\n")
    costs = parse_costs(str(path), CLASSES)
    assert costs.decisions == CLASSES
    assert costs.matrix.tolist() == [[0, 2, 1], [4, 0, 3], [6, 5, 0]]


@pytest.mark.parametrize("prevalence", [None, np.array([0.7, 0.1, 0.2])])
def test_mean_costs_match_their_definition(prevalence):
    predictions, costs = model(), parse_costs("metastatic:benign=10", CLASSES)
    table = mean_costs(predictions, costs, prevalence=prevalence).set_index("policy")
    chosen = np.array([min(range(3), key=lambda k: p @ costs.matrix[:, k]) for p in predictions.probs])
    weights = (np.full(3, 1 / 3) if prevalence is None else prevalence)[predictions.labels] / 30
    assert table.loc[LEAST_COST, "mean_cost"] == pytest.approx(weights @ costs.matrix[predictions.labels, chosen])
    paid = costs.matrix[predictions.labels, predictions.probs.argmax(axis=1)]
    assert table.loc[MOST_PROBABLE, "mean_cost"] == pytest.approx(weights @ paid)
    assert table.loc["always benign", "mean_cost"] == pytest.approx(weights @ costs.matrix[predictions.labels, 0])
    np.testing.assert_allclose(table[list(CLASSES)].sum(axis=1), 1)
    assert table["mean_cost"].between(table["ci_low"] - 1e-9, table["ci_high"] + 1e-9).all()
    assert decided(predictions, costs)[list(CLASSES)].to_numpy().sum() == 90


def test_a_better_model_costs_less_on_the_same_patients():
    costs = parse_costs("metastatic:benign=10", CLASSES)
    [row] = cost_difference(model(skill=3), model(skill=0.5), costs).to_dict("records")
    assert row["difference"] == pytest.approx(row["mean_cost_a"] - row["mean_cost_b"])
    assert row["difference"] < row["ci_high"] < 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metastatic:benin=10", "benin: unknown class(.|\n)*Did you mean 'benign'"),
        ("metastatic=10", "neither a table's path nor of the form TRUTH:DECISION=COST"),
        ("metastatic:benign=much", "'much' is no cost; expected a number from 0"),
        ("metastatic:benign=-1", "'-1' is no cost"),
        ("metastatic:benign=1,metastatic:benign=2", "metastatic:benign is given twice"),
        (" ,", "names no cost"),
        ("nowhere.csv", r"nowhere\.csv: no such file"),
    ],
)
def test_costs_that_are_none_are_refused(text, message):
    with pytest.raises(FusionLNError, match=message):
        parse_costs(text, CLASSES)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("truth,biopsy,wait\nbenign,1,0\nlymphoma,1,8\n", "no line for class 'metastatic'"),
        ("truth,biopsy,wait\nbenign,1,0\nbenign,1,8\nmetastatic,1,2\n", "line 3: 'benign' is there twice"),
        ("truth,biopsy,wait\nbenign,1,0\ncyst,1,8\n", "line 3: 'cyst' is no class"),
        ("truth,biopsy,wait\nbenign,1,0\nlymphoma,1,\nmetastatic,1,2\n", "line 3: '' is no cost"),
        ("truth,biopsy\nbenign,1\n", "2 columns; at least two decisions"),
        ("truth,biopsy,wait\nbenign,1,1\nlymphoma,2,2\nmetastatic,3,3\n", "every decision costs the same"),
    ],
)
def test_a_table_of_costs_that_is_none_names_its_line(tmp_path, lines, message):
    path = tmp_path / "costs.csv"
    path.write_text(lines)
    with pytest.raises(FusionLNError, match=message):
        parse_costs(str(path), CLASSES)
