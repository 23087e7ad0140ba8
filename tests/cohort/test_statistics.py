import json
import os
from itertools import product
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fusion_ln.cohort.statistics import (
    MISSING,
    TESTS,
    category_difference,
    compare_categories,
    compare_numbers,
    is_normal,
    table_one,
)
from fusion_ln.errors import CohortError

CLASSES = ("benign", "lymphoma", "metastatic")
REFERENCE = Path(os.environ.get("FUSIONLN_SHARED", Path(__file__).parents[3] / "shared")) / "reference"
SIX_DIGITS = 5e-7
VARIABLES = ["age", "long_axis_mm", "short_axis_mm", "sex", "elastography_score", "hilum"]


@pytest.fixture(scope="module")
def patients() -> pd.DataFrame:
    if not REFERENCE.is_dir():
        pytest.skip(f"{REFERENCE} is not there; set FUSIONLN_SHARED")
    return pd.read_csv(REFERENCE / "two_models_586.csv")[["patient_id", "label", *VARIABLES]]


@pytest.fixture(scope="module")
def r_figures() -> dict:
    return json.loads((REFERENCE / "two_models_586.r.json").read_text())


def by_class(patients: pd.DataFrame, variable: str, labels: tuple[int, ...] = (0, 1, 2)) -> dict[str, pd.Series]:
    return {CLASSES[c]: patients.loc[patients["label"] == c, variable] for c in labels}


def test_tests_of_three_classes_agree_with_r(patients, r_figures):
    table = table_one(patients, classes=CLASSES).table
    found = table[table["test"] != ""].set_index("variable")
    expected = {r["variable"]: list(r["kruskal"].values()) for r in r_figures["continuous"] if r["variable"] != "age"}
    expected |= {r["variable"]: [r["chi2"], r["p"]] for r in r_figures["categorical"]}
    assert set(found.index) == {"age", *expected}
    for variable, (statistic, p) in expected.items():
        assert found.loc[variable, "statistic"] == pytest.approx(statistic, rel=SIX_DIGITS)
        assert found.loc[variable, "p"] == pytest.approx(p, rel=SIX_DIGITS)
    assert found["test"].to_dict() == {
        "age": "ANOVA (Welch)",
        "long_axis_mm": "Kruskal-Wallis",
        "short_axis_mm": "Kruskal-Wallis",
        **dict.fromkeys(["sex", "elastography_score", "hilum"], "chi-square"),
    }


def test_tests_of_two_classes_agree_with_r(patients, r_figures):
    for figures in r_figures["continuous"]:
        found = compare_numbers(by_class(patients, figures["variable"], (0, 2)))
        normal = figures["variable"] == "age"
        expected = figures["t_welch_benign_vs_metastatic" if normal else "mannwhitney_benign_vs_metastatic"]
        assert found.name == ("t-test (Welch)" if normal else "Mann-Whitney")
        assert [found.statistic, found.p] == pytest.approx(list(expected.values()), rel=SIX_DIGITS)


def test_normality_is_judged_as_r_does(patients, r_figures):
    for figures in r_figures["continuous"]:
        for c, expected in enumerate(figures["shapiro_by_class"]):
            values = by_class(patients, figures["variable"])[CLASSES[c]].to_numpy()
            assert is_normal(values) == (expected["p"] > 0.05)


def test_every_test_agrees_with_r_on_every_number(patients, r_figures):
    """The tests that `table_one` chooses from, and those with equal variances and Shapiro-Wilk, which it does not show.

    Welch's ANOVA, which the R figures lack, is the square of his t-test for two classes.
    """
    (_, welch), (_, welch_anova), (_, mann_whitney), (_, kruskal) = TESTS.values()
    for figures in r_figures["continuous"]:
        three = [values.to_numpy() for values in by_class(patients, figures["variable"]).values()]
        two = [three[0], three[2]]
        found = {
            "anova": stats.f_oneway(*three),
            "kruskal": kruskal(*three),
            "t_welch_benign_vs_metastatic": welch(*two),
            "t_student_benign_vs_metastatic": stats.ttest_ind(*two),
            "mannwhitney_benign_vs_metastatic": mann_whitney(*two),
            "shapiro_all": stats.shapiro(patients[figures["variable"]]),
        }
        for name, result in found.items():
            assert [result.statistic, result.pvalue] == pytest.approx(list(figures[name].values()), rel=SIX_DIGITS)
        t, p = figures["t_welch_benign_vs_metastatic"].values()
        result = welch_anova(*two)
        assert [result.statistic, result.pvalue] == pytest.approx([t**2, p], rel=SIX_DIGITS)
        for values, expected in zip(three, figures["shapiro_by_class"], strict=True):
            result = stats.shapiro(values)
            assert [result.statistic, result.pvalue] == pytest.approx([expected["W"], expected["p"]], rel=SIX_DIGITS)


def test_welch_anova_agrees_with_the_example_in_r_s_manual():
    """`oneway.test(count ~ spray, InsectSprays)`: F = 36.065, p = 7.999e-12; with equal variances F = 34.7."""
    sprays = (
        (10, 7, 20, 14, 14, 12, 10, 23, 17, 20, 14, 13),
        (11, 17, 21, 11, 16, 14, 17, 17, 19, 21, 7, 13),
        (0, 1, 7, 2, 3, 1, 2, 1, 3, 0, 1, 4),
        (3, 5, 12, 6, 4, 3, 5, 5, 5, 5, 2, 4),
        (3, 5, 3, 5, 3, 6, 1, 1, 3, 2, 6, 4),
        (11, 9, 15, 22, 15, 16, 13, 10, 26, 26, 24, 13),
    )
    _, welch_anova = TESTS[True, False]
    result = welch_anova(*sprays)
    assert [result.statistic, result.pvalue] == pytest.approx([36.065, 7.999e-12], rel=1e-4)


def test_counts_agree_with_r(patients, r_figures):
    table = table_one(patients, classes=CLASSES).table
    for figures in r_figures["categorical"]:
        rows = table.loc[table["variable"] == figures["variable"], list(CLASSES)]
        assert [[int(cell.split()[0]) for cell in row] for row in rows.to_numpy()] == figures["table"]


def test_columns_are_the_contract(patients):
    result = table_one(patients, classes=CLASSES)
    assert result.table.columns.tolist() == ["variable", "level", *CLASSES, "test", "statistic", "p"]
    assert result.table.iloc[0].tolist() == ["patients", "", "170", "127", "289", "", None, None]
    assert not result.differences.isna().any().any()


def test_missing_values_are_counted_and_left_out_of_the_test(patients):
    holes = patients.assign(
        age=patients["age"].mask(patients.index < 40), hilum=patients["hilum"].mask(patients.index < 9)
    )
    result = table_one(holes, classes=CLASSES).table
    missing = result[result["level"] == MISSING].set_index("variable")[list(CLASSES)].astype(int)
    assert missing.sum(axis=1).to_dict() == {"age": 40, "hilum": 9}
    complete = table_one(patients[40:], classes=CLASSES).table
    first = [t[t["variable"] == "age"].iloc[0]["p"] for t in (result, complete)]
    assert first[0] == first[1]


def test_standardised_differences_match_their_definitions():
    """Yang & Dalton: the difference in means, or in shares, over the root of the mean variance."""
    table = pd.DataFrame(
        {
            "label": [0] * 4 + [1] * 4,
            "axis": [1.5, 2, 3, 4, 4, 5, 6, 9.5],
            "hilum": ["yes", "yes", "yes", "no", "no", "no", "yes", "no"],
        }
    )
    found = table_one(table).differences.set_index("variable")["difference"]
    low, high = table["axis"][:4], table["axis"][4:]
    assert found["axis"] == pytest.approx((high.mean() - low.mean()) / np.sqrt((low.var() + high.var()) / 2))
    assert found["hilum"] == pytest.approx((0.75 - 0.25) / np.sqrt(0.75 * 0.25))


def test_standardised_differences_equal_those_of_tableone(patients):
    """Signs apart, the figures of its `smd_table` (version 0.9.6)."""
    names = [("benign", "lymphoma"), ("benign", "metastatic"), ("lymphoma", "metastatic")]
    expected = {
        "age": (0.205253, 0.162218, 0.367493),
        "long_axis_mm": (0.282149, 0.306862, 0.019907),
        "short_axis_mm": (0.995199, 0.735888, 0.260449),
        "sex": (0.125959, 0.004856, 0.121085),
        "elastography_score": (0.482656, 1.338758, 0.807788),
        "hilum": (0.915106, 1.804497, 0.621531),
    }
    found = table_one(patients, classes=CLASSES).differences.set_index(["variable", "class_a", "class_b"])["difference"]
    assert found.to_dict() == {
        (variable, *pair): pytest.approx(value, abs=1e-6)
        for variable, values in expected.items()
        for pair, value in zip(names, values, strict=True)
    }


@pytest.mark.parametrize("a", [(4, 3, 2, 1), (9, 0, 0, 1), (5, 5, 0, 0)])
def test_order_and_names_of_the_levels_do_not_change_a_difference(a):
    b = (1, 2, 0, 4)
    found = [category_difference(np.array(x), np.array(y)) for x, y in ((a, b), (a[::-1], b[::-1]), (b, a))]
    assert np.isfinite(found[0])
    assert found == pytest.approx([found[0]] * 3, rel=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((5, 0, 0), (0, 4, 3), np.inf),
        ((5, 0), (0, 5), np.inf),
        ((2, 2, 0, 0), (0, 0, 3, 1), np.inf),
        ((3, 0), (9, 0), 0),
        ((3,), (9,), 0),
        ((0, 0), (3, 4), np.nan),
    ],
)
def test_classes_without_a_common_category_are_infinitely_far_apart(a, b, expected):
    assert category_difference(np.array(a), np.array(b)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [((2.5, 2.5), (2.5, 2.5), 0), ((0.1,) * 3, (0.3,) * 3, np.inf), ((1.5,), (2.5, 3.5), np.nan)],
)
def test_a_class_whose_numbers_are_all_equal_keeps_its_difference(a, b, expected):
    table = pd.DataFrame({"label": [0] * len(a) + [1] * len(b), "axis": [*a, *b]})
    assert table_one(table).differences["difference"].tolist() == pytest.approx([expected], nan_ok=True)


def test_small_expected_counts_take_fisher_s_test_of_two_by_two():
    """Fisher's tea: 3 of 4 and 1 of 4 cups, p = 34 / 70."""
    tea = {"milk": pd.Series(["milk"] * 3 + ["tea"]), "tea": pd.Series(["tea"] * 3 + ["milk"])}
    found = compare_categories(tea)
    assert (found.name, found.statistic, found.p) == ("Fisher's exact", None, pytest.approx(34 / 70))


def test_small_expected_counts_of_a_larger_table_take_random_tables():
    """On 2 x 3, the share of all tables with the same margins, each counted by hand, with a chi-square as large."""
    counts = np.array([[5, 1, 0], [1, 2, 3]])
    values = {f"class {i}": pd.Series(np.repeat(list("xyz"), row)) for i, row in enumerate(counts)}
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    exact = 0.0
    for x, y in product(range(columns[0] + 1), range(columns[1] + 1)):
        table = np.array([[x, y, rows[0] - x - y], columns - (x, y, rows[0] - x - y)])
        if (table >= 0).all() and chi_square(table) >= chi_square(counts) - 1e-9:
            exact += float(np.prod([comb(n, k) for n, k in zip(columns, table[0], strict=True)])) / comb(12, 6)
    found = compare_categories(values)
    assert found.name == "chi-square (Monte Carlo)"
    assert found.statistic == pytest.approx(chi_square(counts))
    assert found.p == pytest.approx(exact, abs=4 * np.sqrt(exact / 10_000))
    assert found == compare_categories(values)


def chi_square(table: np.ndarray) -> float:
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return float((np.square(table - expected) / expected).sum())


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        ({"a": [1.0, 1.0], "b": [1.0]}, "all values equal"),
        ({"a": [1.0, 2.0], "b": [np.nan]}, "fewer than two classes"),
    ],
)
def test_where_numbers_allow_no_test_the_reason_stands_instead(groups, reason):
    found = compare_numbers({name: pd.Series(values) for name, values in groups.items()})
    assert reason in found.name
    assert (found.statistic, found.p) == (None, None)


def test_one_category_allows_no_test():
    found = compare_categories({"a": pd.Series(["x", "x"]), "b": pd.Series(["x"])})
    assert found.name.startswith("none")


def test_free_text_and_empty_columns_are_left_out_with_the_reason():
    table = pd.DataFrame({"label": [0, 1] * 20, "note": [f"text {i}" for i in range(40)], "empty": [None] * 40})
    assert table_one(table).left_out == {"note": "40 different texts", "empty": "no value"}


def test_readers_are_no_rows_of_table_one():
    found = table_one(pd.DataFrame({"label": [0, 1] * 20, "age": range(40), "reader:Li:b": [1, 5] * 20}))
    assert set(found.table["variable"]) == {"patients", "age"}
    assert "a reader's calls" in found.left_out["reader:Li:b"]


def test_labels_of_a_bare_table_name_themselves(patients):
    table = patients.assign(outcome=patients["label"].map(dict(enumerate(CLASSES)))).drop(columns="label")
    result = table_one(table, label="outcome").table
    assert result.columns[2:5].tolist() == list(CLASSES)


@pytest.mark.parametrize(
    ("table", "label", "message"),
    [
        (pd.DataFrame({"label": [0, 1]}), "outcome", "no column 'outcome'"),
        (pd.DataFrame({"label": [0, None, 1]}), "label", "1 of 3 patients have no value"),
        (pd.DataFrame({"label": [0, 0]}), "label", "holds 1 class"),
    ],
)
def test_an_unusable_label_is_refused(table, label, message):
    with pytest.raises(CohortError, match=message):
        table_one(table, label=label)
