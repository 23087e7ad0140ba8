"""Table 1: clinical columns of the patients by class, with tests and standardised differences."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from fusion_ln.decode.columns import CATEGORY_LEVELS, MOST_LEVELS, reason_against_categories
from fusion_ln.errors import CohortError
from fusion_ln.terms import LABEL, PATIENT, is_reader_column, severity
from fusion_ln.units import patient_of

NORMAL_ABOVE = 0.05  # p-value of Shapiro-Wilk in every class
SMALL_EXPECTED = 5  # below it the chi-square distribution is no good approximation
MONTE_CARLO_DRAWS = 9_999
LARGEST_NUMBER = 1e100  # squares of larger numbers are no longer finite
MISSING = "missing"
NODES = "nodes"  # of a patient
# Test of a measurement: (every class is normal, there are two classes) -> name and function.
TESTS: dict[tuple[bool, bool], tuple[str, Callable[..., Any]]] = {
    (True, True): ("t-test (Welch)", partial(stats.ttest_ind, equal_var=False)),
    (True, False): ("ANOVA (Welch)", partial(stats.f_oneway, equal_var=False)),
    (False, True): ("Mann-Whitney", partial(stats.mannwhitneyu, method="asymptotic")),
    (False, False): ("Kruskal-Wallis", stats.kruskal),
}


@dataclass(frozen=True)
class TableOne:
    """Table 1 of a cohort.

    Attributes:
        table: Columns ``variable, level, <class>..., test, statistic, p``. First the row ``patients``; then per
            variable one row "mean (SD)" or "median [quartiles]", or one per category with counts and percent of
            those known, and a row ``missing`` if values are missing. The first row of a variable holds its test.
        differences: Standardised differences ``variable, class_a, class_b, difference`` of every two classes: infinite
            where they are separated without spread, NaN where a class has too few values for one.
        left_out: Reason for each column that the table leaves out.
    """

    table: pd.DataFrame
    differences: pd.DataFrame
    left_out: dict[str, str]


@dataclass(frozen=True)
class ClassTest:
    """A test of one variable over the classes.

    Attributes:
        statistic: None if the data allow no test, and for Fisher's, which has none.
        p: None if the data allow no test.
    """

    name: str
    statistic: float | None = None
    p: float | None = None


def table_one(patients: pd.DataFrame, *, label: str = LABEL, classes: tuple[str, ...] = ()) -> TableOne:
    """Describe and test every clinical column by class.

    Categories (text, booleans, and whole numbers of at most `CATEGORY_LEVELS` values): see `compare_categories`.
    Numbers: Shapiro-Wilk within each class; where all are normal, Welch's t-test (two classes) or Welch's ANOVA, which
    do not take the classes' variances for equal (Welch 1951; Delacre et al. 2019), else Mann-Whitney or
    Kruskal-Wallis. Missing values are left out of a variable's test and counted.

    Args:
        patients: One row per patient.
        label: The column that holds the class.
        classes: Names of the labels 0..C-1; by default the labels name themselves.

    Raises:
        CohortError: If the column is absent, has missing values, or holds fewer than two classes.
    """
    groups = _groups(patients, label, classes)
    rows: list[dict[str, object]] = [
        _row("patients", "", {name: str(len(g)) for name, g in groups.items()}, ClassTest(""))
    ]
    differences, left_out = [], {}
    for variable in patients.columns.drop([label, *({PATIENT} & set(patients.columns))]):
        if is_reader_column(str(variable)):
            left_out[str(variable)] = "a reader's calls, which the report of a run compares with its model"
            continue
        if reason := _reason_to_omit(patients[variable]):
            left_out[str(variable)] = reason
            continue
        values = {name: group[variable] for name, group in groups.items()}
        categorical = is_category(patients[variable])
        rows += _category_rows(variable, values) if categorical else _number_rows(variable, values)
        differences += list(_differences(variable, values, categorical))
    columns = ["variable", "level", *groups, "test", "statistic", "p"]
    return TableOne(
        pd.DataFrame(rows, columns=columns, dtype=object),
        pd.DataFrame(differences, columns=["variable", "class_a", "class_b", "difference"]),
        left_out,
    )


def worst_nodes(nodes: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Reduce nodes to patients: each is the first node of the patient's worst class, with `NODES`, a count of all.

    Args:
        nodes: One row per node.
        classes: Names of the labels 0..C-1.
    """
    owners = nodes[PATIENT].map(patient_of)
    ranks = nodes[LABEL].map(dict(enumerate(severity(classes))))
    worst = nodes.assign(**{PATIENT: owners, NODES: owners.map(owners.value_counts())})
    first = worst.iloc[(-ranks).argsort(kind="stable")].drop_duplicates(PATIENT)
    return first.sort_values(PATIENT, ignore_index=True)


def is_category(values: pd.Series) -> bool:
    """Tell a category from a measurement; see `table_one`."""
    known = values.dropna()
    if pd.api.types.is_bool_dtype(known) or not pd.api.types.is_numeric_dtype(known):
        return True
    return bool(known.nunique() <= CATEGORY_LEVELS and (known % 1 == 0).all())


def compare_categories(values: dict[str, pd.Series]) -> ClassTest:
    """Test category by class: chi-square without continuity correction.

    Where an expected count is below `SMALL_EXPECTED`: Fisher's exact test for two categories by two classes, and for
    larger tables chi-square with its p-value by Monte Carlo, over tables with the same margins.
    """
    counts = _cross(values)
    counts = counts.loc[:, counts.sum() > 0]
    if min(counts.shape) < 2:
        return ClassTest("none: one category or class")
    result = stats.chi2_contingency(counts, correction=False)
    if (result.expected_freq >= SMALL_EXPECTED).all():
        return ClassTest("chi-square", float(result.statistic), float(result.pvalue))
    if counts.shape == (2, 2):
        return ClassTest("Fisher's exact", None, float(stats.fisher_exact(counts.to_numpy()).pvalue))
    p = _monte_carlo_p(counts.to_numpy(), result.expected_freq, float(result.statistic))
    return ClassTest("chi-square (Monte Carlo)", float(result.statistic), p)


def compare_numbers(values: dict[str, pd.Series]) -> ClassTest:
    """Test a measurement by class; see `table_one` for the choice of the test."""
    groups = [known for v in values.values() if len(known := v.dropna().to_numpy(dtype=np.float64))]
    if len(groups) < 2:
        return ClassTest("none: fewer than two classes have values")
    if len(np.unique(np.concatenate(groups))) == 1:
        return ClassTest("none: all values equal")
    name, test = TESTS[all(is_normal(group) for group in groups), len(groups) == 2]
    result = test(*groups)
    return ClassTest(name, float(result.statistic), float(result.pvalue))


def is_normal(values: np.ndarray) -> bool:
    """Test for a normal distribution (Shapiro-Wilk); False for fewer than 3 values or equal ones."""
    if len(values) < 3 or np.ptp(values) == 0:
        return False
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*may not be accurate for N > 5000")
        return bool(stats.shapiro(values).pvalue > NORMAL_ABOVE)


def _groups(patients: pd.DataFrame, label: str, classes: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """Split the patients by class, in label order."""
    if label not in patients:
        raise CohortError(
            f"no column {label!r} among the patients' {', '.join(map(str, patients.columns))}.",
            "Name the column that holds the class with `--label COLUMN`.",
        )
    if missing := int(patients[label].isna().sum()):
        raise CohortError(f"{missing} of {len(patients)} patients have no value in {label!r}.", "Fill or remove them.")
    found = sorted(patients[label].unique())
    if len(found) < 2:
        raise CohortError(
            f"column {label!r} holds {len(found)} class; Table 1 compares at least two.",
            "Name another column with `--label COLUMN`.",
        )
    return {classes[v] if classes else str(v): patients[patients[label] == v] for v in found}


def _reason_to_omit(values: pd.Series) -> str:
    """Return the reason to leave a column out of the table; empty for none."""
    known = values.dropna()
    if known.empty:
        return "no value"
    if pd.api.types.is_numeric_dtype(known) and not (known.abs() <= LARGEST_NUMBER).all():
        return f"values that are not finite or beyond {LARGEST_NUMBER:g}"
    if not is_category(values) or pd.api.types.is_numeric_dtype(known):
        return ""
    if reason := reason_against_categories(known):
        return reason
    return f"{levels} different texts" if (levels := known.nunique()) > MOST_LEVELS else ""


def _monte_carlo_p(counts: np.ndarray, expected: np.ndarray, statistic: float) -> float:
    """Estimate the chance of a chi-square of at least ``statistic`` over random tables with the same margins."""
    rng = np.random.default_rng(0)
    drawn = stats.random_table(counts.sum(axis=1), counts.sum(axis=0)).rvs(MONTE_CARLO_DRAWS, random_state=rng)
    found = (np.square(drawn - expected) / expected).sum(axis=(1, 2))
    at_least = int(np.sum(found >= statistic * (1 - 1e-9)))  # equal tables may differ in the last bit
    return (at_least + 1) / (MONTE_CARLO_DRAWS + 1)


def _category_rows(variable: str, values: dict[str, pd.Series]) -> list[dict[str, object]]:
    counts = _cross(values)
    shares = 100 * counts / counts.sum().clip(lower=1)
    test = compare_categories(values)
    rows: list[dict[str, object]] = []
    for k, level in enumerate(counts.index):
        cells = {name: f"{counts[name].iloc[k]} ({shares[name].iloc[k]:.1f} %)" for name in values}
        rows.append(_row(variable, level, cells, test if k == 0 else ClassTest("")))
    return rows + _missing_rows(variable, values)


def _number_rows(variable: str, values: dict[str, pd.Series]) -> list[dict[str, object]]:
    test = compare_numbers(values)
    as_mean = test.name.startswith(("t-test", "ANOVA"))
    cells = {}
    for name, group in values.items():
        known = group.dropna()
        if known.empty:
            cells[name] = ""
        elif as_mean:
            cells[name] = f"{known.mean():.1f} ({known.std():.1f})"
        else:
            low, middle, high = known.quantile([0.25, 0.5, 0.75])
            cells[name] = f"{middle:.1f} [{low:.1f}, {high:.1f}]"
    row = _row(variable, "mean (SD)" if as_mean else "median [quartiles]", cells, test)
    return [row, *_missing_rows(variable, values)]


def _missing_rows(variable: str, values: dict[str, pd.Series]) -> list[dict[str, object]]:
    missing = {name: int(group.isna().sum()) for name, group in values.items()}
    return (
        [_row(variable, MISSING, {k: str(n) for k, n in missing.items()}, ClassTest(""))]
        if any(missing.values())
        else []
    )


def _row(variable: str, level: object, cells: dict[str, str], test: ClassTest) -> dict[str, object]:
    return {
        "variable": variable,
        "level": str(level),
        **cells,
        "test": test.name,
        "statistic": test.statistic,
        "p": test.p,
    }


def _cross(values: dict[str, pd.Series]) -> pd.DataFrame:
    """Count each category (rows, sorted) in each class (columns)."""
    counts = pd.DataFrame({name: group.value_counts() for name, group in values.items()})
    return counts.fillna(0).astype(int).sort_index()


def _differences(
    variable: str, values: dict[str, pd.Series], categorical: bool
) -> Iterator[tuple[str, str, str, float]]:
    """Compute the standardised difference of every pair of classes."""
    counts = _cross(values) if categorical else pd.DataFrame()
    for a, b in combinations(values, 2):
        if categorical:
            yield variable, a, b, category_difference(counts[a].to_numpy(), counts[b].to_numpy())
        else:
            yield variable, a, b, number_difference(values[a].dropna().to_numpy(), values[b].dropna().to_numpy())


def number_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Divide the difference in means by the root of the mean variance.

    Infinite where neither class varies and their values differ; NaN where a class has fewer than two values.
    """
    if min(len(a), len(b)) < 2:
        return np.nan
    gap = abs(float(np.mean(a) - np.mean(b)))
    if np.ptp(a) == np.ptp(b) == 0:
        return 0.0 if a[0] == b[0] else np.inf
    return float(gap / np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2))


def category_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the Mahalanobis distance of two classes' shares of the categories (Yang & Dalton 2012).

    Infinite where the classes share no category; NaN where a class has no values. Categories that neither class has are
    left out; the shares of the others sum to 1, so any one of them may be left out too.

    Args:
        a, b: Patients of each category. Shape (K,).
    """
    if not a.sum() or not b.sum():
        return np.nan
    if not np.any((a > 0) & (b > 0)):
        return np.inf
    held = (a + b) > 0
    shares = [(each[held] / each.sum())[1:] for each in (a, b)]
    covariance = sum((np.diag(share) - np.outer(share, share)) / 2 for share in shares)
    gap = shares[0] - shares[1]
    return float(np.sqrt(max(0.0, gap @ np.linalg.solve(covariance, gap))))
