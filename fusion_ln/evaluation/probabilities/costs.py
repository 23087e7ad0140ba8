"""Decisions of least expected cost, from a cost of every decision for every true class."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fusion_ln.decode.table import read_table, spelling_key
from fusion_ln.errors import SettingsError, unknown
from fusion_ln.evaluation.intervals import align
from fusion_ln.evaluation.limits.shares import Limits, difference_limits
from fusion_ln.evaluation.limits.sums import value_limits
from fusion_ln.evaluation.probabilities.weights import class_correlation, class_weights
from fusion_ln.predictions import Predictions

COSTS_OPTION = "--costs"
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".txt", ".xlsx"})
LEAST_COST, MOST_PROBABLE, ALWAYS = "least expected cost", "most probable class", "always "


@dataclass(frozen=True, eq=False)
class Costs:
    """Cost of each decision for each true class, in any unit.

    Attributes:
        classes: Names of the true classes, in label order.
        decisions: Names of the decisions; the classes themselves, or actions such as ``biopsy``.
        matrix: Shape (C, D).
    """

    classes: tuple[str, ...]
    decisions: tuple[str, ...]
    matrix: np.ndarray

    def expected(self, probs: np.ndarray) -> np.ndarray:
        """Compute the expected cost of each decision, from probabilities (P, C). Shape (P, D)."""
        return np.asarray(probs @ self.matrix)

    def decide(self, probs: np.ndarray) -> np.ndarray:
        """Choose the decision of least expected cost, the first of equal ones. Shape (P,)."""
        return np.asarray(self.expected(probs).argmin(axis=1))

    def table(self) -> pd.DataFrame:
        """Tabulate the costs: ``truth`` and a column per decision."""
        return pd.DataFrame(self.matrix, columns=list(self.decisions)).assign(truth=list(self.classes))[
            ["truth", *self.decisions]
        ]


def parse_costs(text: str, classes: tuple[str, ...]) -> Costs:
    """Parse costs: a table's path, or ``TRUTH:DECISION=COST`` parts with commas between.

    In the text a decision is a class, a right one costs 0, and any other mistake costs 1. A table has a line per true
    class, its name in the first column, and a column per decision.

    Raises:
        SettingsError: If a class is unknown or missing, or a cost is no number from 0.
        SourceError: If the table cannot be read.
    """
    if is_table(text):
        return _read_costs(Path(text), classes)
    way_out = (
        f"As in `{COSTS_OPTION} {classes[-1]}:{classes[0]}=10`: taking a true {classes[-1]} for {classes[0]} costs 10, "
        "any other mistake 1. Or give a CSV file: a line per true class, a column per decision."
    )
    matrix, seen = 1 - np.eye(len(classes)), set[tuple[str, str]]()
    for part in filter(None, (each.strip() for each in text.split(","))):
        pair, _, value = part.rpartition("=")
        truth, _, decision = (each.strip() for each in pair.partition(":"))
        if not truth or not decision:
            raise SettingsError(
                f"{COSTS_OPTION} {part}: is neither a table's path nor of the form TRUTH:DECISION=COST.", way_out
            )
        for name in (truth, decision):
            if name not in classes:
                raise SettingsError(*unknown("class", name, classes, where=COSTS_OPTION))
        if (truth, decision) in seen:
            raise SettingsError(f"{COSTS_OPTION}: {truth}:{decision} is given twice.", way_out)
        seen.add((truth, decision))
        matrix[classes.index(truth), classes.index(decision)] = _parse_cost(f"{COSTS_OPTION} {part}", value, way_out)
    if not seen:
        raise SettingsError(f"{COSTS_OPTION} {text}: names no cost.", way_out)
    return _checked(COSTS_OPTION, Costs(classes, classes, matrix))


def is_table(text: str) -> bool:
    """Test whether costs are given as the path of a table."""
    return Path(text).suffix.lower() in TABLE_SUFFIXES


def mean_costs(
    predictions: Predictions,
    costs: Costs,
    *,
    prevalence: np.ndarray | None = None,
) -> pd.DataFrame:
    """Compute the mean cost per patient of deciding by expected cost, by the most probable class, or always alike.

    Args:
        predictions: Of patients that the model was not trained on, their probabilities calibrated.
        costs: Cost of each decision for each true class.
        prevalence: Share of each class in the population that the patients stand for. Shape (C,). None: as they are.

    Returns:
        One row per policy: ``policy, mean_cost, ci_low, ci_high`` (see `value_limits`; a policy that decides always
        alike costs what it costs), then the share of patients who get each decision.
    """
    chosen = _policies(predictions, costs)
    weights = class_weights(predictions.labels, prevalence)
    paid = np.stack([costs.matrix[predictions.labels, each] for each in chosen.values()], axis=1)  # (P, policies)
    table = pd.DataFrame({"policy": list(chosen)})
    table["mean_cost"] = weights @ paid
    low, high = _limits(paid, costs, predictions, prevalence)
    alike = table["policy"].str.startswith(ALWAYS)
    table["ci_low"], table["ci_high"] = (table["mean_cost"].where(alike, end) for end in (low, high))
    for k, name in enumerate(costs.decisions):
        table[name] = [float(weights @ (each == k)) for each in chosen.values()]
    return table


def cost_difference(
    a: Predictions,
    b: Predictions,
    costs: Costs,
    *,
    prevalence: np.ndarray | None = None,
) -> pd.DataFrame:
    """Compute the mean cost of ``a`` less that of ``b``, both deciding by expected cost, on the same patients.

    Returns:
        One row: ``patients, mean_cost_a, mean_cost_b, difference, ci_low, ci_high`` (see `difference_limits`).
    """
    a, b = align(a, b, common_only=True)
    weights = class_weights(a.labels, prevalence)
    paid = [costs.matrix[a.labels, costs.decide(each.probs)] for each in (a, b)]
    means = [float(weights @ each) for each in paid]
    limits_a, limits_b = (_limits(each[:, None], costs, a, prevalence) for each in paid)
    parts_a, parts_b = (each[:, None] * weights[:, None] for each in paid)
    r = class_correlation(parts_a, parts_b, a.labels)
    low, high = difference_limits(np.array(means[:1]), np.array(means[1:]), limits_a, limits_b, r)
    row = (len(weights), *means, means[0] - means[1], float(low[0]), float(high[0]))
    return pd.DataFrame([row], columns=["patients", "mean_cost_a", "mean_cost_b", "difference", "ci_low", "ci_high"])


def decided(predictions: Predictions, costs: Costs) -> pd.DataFrame:
    """Count patients by true class and decision of least expected cost: ``truth`` and a column per decision."""
    chosen = costs.decide(predictions.probs)
    counts = np.zeros(costs.matrix.shape, dtype=int)
    np.add.at(counts, (predictions.labels, chosen), 1)
    return Costs(costs.classes, costs.decisions, counts).table()


def _limits(paid: np.ndarray, costs: Costs, predictions: Predictions, prevalence: np.ndarray | None) -> Limits:
    """Compute the limits of the mean of costs (P, K), from those of the share of each cost in each class. (K,)."""
    sizes = np.bincount(predictions.labels, minlength=len(predictions.classes))
    shares = sizes / sizes.sum() if prevalence is None else prevalence
    return value_limits(paid, [np.unique(row) for row in costs.matrix], shares, predictions.labels)


def _policies(predictions: Predictions, costs: Costs) -> dict[str, np.ndarray]:
    """List each policy's decision for each patient, by the policy's name."""
    n, found = len(predictions.labels), {LEAST_COST: costs.decide(predictions.probs)}
    if costs.decisions == costs.classes:
        found[MOST_PROBABLE] = predictions.probs.argmax(axis=1)
    return found | {f"{ALWAYS}{name}": np.full(n, k) for k, name in enumerate(costs.decisions)}


def _read_costs(path: Path, classes: tuple[str, ...]) -> Costs:
    """Read a table of costs."""
    expected = (
        f"It needs a line per true class ({', '.join(classes)}), named in the first column, and a column per decision."
    )
    cells = read_table(path, expected).cells
    if len(cells.columns) < 3:
        raise SettingsError(f"{path}: {len(cells.columns)} columns; at least two decisions are needed.", expected)
    names = {spelling_key(name): name for name in classes}
    rows: dict[str, list[float]] = {}
    for number, (first, *values) in zip(cells.index, cells.itertuples(index=False), strict=True):
        name = names.get(spelling_key(str(first)))
        if name is None or name in rows:
            raise SettingsError(
                f"{path}, line {number}: {first!r} is {'no class' if name is None else 'there twice'}.", expected
            )
        rows[name] = [_parse_cost(f"{path}, line {number}", str(value), expected) for value in values]
    if missing := [name for name in classes if name not in rows]:
        raise SettingsError(f"{path}: no line for class {missing[0]!r}.", expected)
    decisions = tuple(names.get(spelling_key(str(each)), str(each)) for each in cells.columns[1:])
    if set(decisions) == set(classes) and len(decisions) == len(classes):  # in label order, as the text has them
        order = [decisions.index(name) for name in classes]
        return _checked(str(path), Costs(classes, classes, np.array([rows[name] for name in classes])[:, order]))
    return _checked(str(path), Costs(classes, decisions, np.array([rows[name] for name in classes])))


def _checked(where: str, costs: Costs) -> Costs:
    """Refuse costs that leave nothing to decide."""
    if np.ptp(costs.matrix, axis=1).max() == 0:
        raise SettingsError(f"{where}: every decision costs the same; there is nothing to decide.", "Give other costs.")
    return costs


def _parse_cost(where: str, value: str, way_out: str) -> float:
    try:
        cost = float(value.strip().replace(",", "."))
    except ValueError:
        cost = math.nan
    if not 0 <= cost < math.inf:
        raise SettingsError(f"{where}: {value.strip()!r} is no cost; expected a number from 0.", way_out)
    return cost
