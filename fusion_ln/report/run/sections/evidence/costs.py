"""Decisions by cost: what acting on the probabilities costs per patient; only where costs were given."""

from collections.abc import Sequence

import pandas as pd

from fusion_ln.evaluation.probabilities.costs import ALWAYS, LEAST_COST, Costs, cost_difference, decided, mean_costs
from fusion_ln.predictions import Predictions
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results, columns_first, stack
from fusion_ln.report.run.section import Report, Section

NO_MODEL = "no model"
HEADINGS = {
    "truth": "True class",
    "policy": "Decided by",
    "mean_cost": "Mean cost per patient",
    "mean_cost_a": "Mean cost",
    "mean_cost_b": "Mean cost of the reference",
}


def build(report: Report) -> Section | None:
    """Build the section; None where no costs were given."""
    results = report.results
    if results.costs is None:
        return None
    costs = results.costs
    shown = [model for model in results.headline if model.calibrated]
    titles = {name: f"Decided: {name}" for name in costs.decisions}
    main = decided(_of(results, results.main), costs) if results.main.calibrated else pd.DataFrame()
    return Section(
        place=97,
        anchor="costs",
        link="Costs",
        title="Costs of decisions",
        subtitle="what do wrong decisions cost?",
        template="evidence/costs.html",
        sheets=[
            Sheet("cost_matrix", "Cost of each decision", costs.table(), HEADINGS),
            Sheet("costs", "Mean cost per patient", policies(results, costs, shown), HEADINGS | titles),
            Sheet("cost_difference", "Difference in cost", _difference(results, costs), HEADINGS),
            Sheet(
                "decided",
                f"Decisions of {results.main.title} by {LEAST_COST}: patients of this cohort",
                main,
                HEADINGS | titles,
            ),
        ],
        left_out=[model.uncalibrated for model in results.headline if not model.calibrated],
        values={"at_prevalence": results.prevalence is not None},
    )


def policies(results: Results, costs: Costs, models: Sequence[Model]) -> pd.DataFrame:
    """Make ``model, policy, mean_cost, ci_low, ci_high, <decision>...``; what needs no model stands there once."""
    tables = {model.name: mean_costs(_of(results, model), costs, prevalence=results.prevalence) for model in models}
    if not tables:
        return pd.DataFrame()
    table = stack(tables)
    alike = table["policy"].str.startswith(ALWAYS)
    return pd.concat([table[~alike], table[alike].assign(model=NO_MODEL).drop_duplicates("policy")], ignore_index=True)


def _of(results: Results, model: Model) -> Predictions:
    """Give a model's calibrated predictions, for the population that figures are wanted for."""
    assert model.calibrated
    return model.calibrated.predictions if results.prevalence is None else model.calibrated.at(results.prevalence)


def _difference(results: Results, costs: Costs) -> pd.DataFrame:
    """Make ``model, reference, patients, mean_cost_a, mean_cost_b, difference, ci_low, ci_high``."""
    a, b = results.candidate, results.reference
    if not (a and b and a.calibrated and b.calibrated):
        return pd.DataFrame()
    pair = (_of(results, a), _of(results, b))
    table = cost_difference(*pair, costs, prevalence=results.prevalence)
    return columns_first(table.assign(model=a.name, reference=b.name), "model", "reference")
