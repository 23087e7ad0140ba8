"""Subgroups: metrics by site, sex and age band."""

from collections.abc import Mapping

import pandas as pd

from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.evaluation.limits.auc import MISPLACED
from fusion_ln.evaluation.repeats import GIVEN
from fusion_ln.evaluation.subgroups import NEEDS, Subgroups, age_bands, subgroups
from fusion_ln.metrics import PRIMARY
from fusion_ln.report.kit.curves import Interval, LevelScores, draw_levels
from fusion_ln.report.kit.figures import Plate
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.run.figures import colour_of, make_plate
from fusion_ln.report.run.results import Results, columns_first
from fusion_ln.report.run.section import Report, Section
from fusion_ln.terms import PATIENT, SITE

VARIABLES = {SITE: "site", "sex": "sex", "age": "age band"}
SHOWN_METRICS = (PRIMARY, "accuracy", "recall")
ByVariable = Mapping[str, Mapping[str, Subgroups]]


def build(report: Report) -> Section | None:
    """Build the section where patients differ in one of `VARIABLES`."""
    results, groups = report.results, report.once(by_variable)
    if not groups:
        return None
    spread = Sheet("subgroup_spread", "How far subgroups lie apart", subgroup_spread(groups))
    return Section(
        place=110,
        anchor="subgroups",
        link="Subgroups",
        title="Subgroups",
        subtitle=f"by {', '.join(groups)}",
        template="evidence/subgroups.html",
        plates=[draw_subgroups(results, groups, variable) for variable in groups],
        sheets=[Sheet("subgroups", "Metrics by subgroup", subgroup_metrics(groups)), spread],
        values={
            "overall": spread.only(class_=ALL_CLASSES) if len(spread.table) else None,
            "given": GIVEN,
            "needs": NEEDS,
            "misplaced": MISPLACED,
        },
    )


def by_variable(results: Results) -> dict[str, dict[str, Subgroups]]:
    """Score the subgroups of the headline's models, by the variable's title and by model."""
    patients = results.cohort.patients.set_index(PATIENT)
    found: dict[str, dict[str, Subgroups]] = {}
    for column, title in VARIABLES.items():
        if column not in patients or patients[column].nunique() < 2:
            continue
        levels = age_bands(patients[column]) if column == "age" else patients[column]
        for model in results.headline:
            found.setdefault(title, {})[model.name] = subgroups(model.predictions, levels)
    return found


def subgroup_metrics(groups: ByVariable) -> pd.DataFrame:
    """Make ``model, variable, level, n, <class>..., metric, class, value, ci_low, ci_high``; no value: not scored."""
    tables = []
    for variable, models in groups.items():
        for name, each in models.items():
            shown = each.metrics[each.metrics["metric"].isin(SHOWN_METRICS)]
            table = each.counts.drop(columns="scored").merge(shown, on="level", how="left")
            tables.append(columns_first(table.assign(model=name, variable=variable), "model", "variable"))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def subgroup_spread(groups: ByVariable) -> pd.DataFrame:
    """Make ``model, variable, metric, class, lowest, lowest_level, highest, highest_level, range, q, p``."""
    tables = []
    for variable, models in groups.items():
        for name, each in models.items():
            shown = each.spread[each.spread["metric"].isin(SHOWN_METRICS)]
            tables.append(columns_first(shown.assign(model=name, variable=variable), "model", "variable"))
    kept = [table for table in tables if len(table)]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()


def draw_subgroups(results: Results, by_variable: ByVariable, variable: str) -> Plate:
    """Draw the AUC of the headline's models by the levels of a variable, on one scale for all variables."""
    groups = by_variable[variable]
    scored = [
        LevelScores(_auc_by_level(groups[model.name].metrics), colour_of(results, model), model.is_fusion)
        for model in results.headline
    ]
    everything = [own for of in by_variable.values() for own in of.values()]
    scale = [interval for own in everything for interval in _auc_by_level(own.metrics).values()]
    figure = draw_levels(groups[results.main.name].counts, scored, scale)
    caption = f"Patients in brackets. {' · '.join(model.title for model in results.headline)}."
    return make_plate(f"auc_by_{variable.replace(' ', '_')}", f"By {variable}", caption, figure, results)


def _auc_by_level(metrics: pd.DataFrame) -> dict[str, Interval]:
    """Give value and interval of the macro AUC of every scored level."""
    own = metrics[(metrics["metric"] == PRIMARY) & (metrics["class"] == ALL_CLASSES)]
    rows = own[["value", "ci_low", "ci_high"]].to_numpy(dtype=float)
    return {level: (value, low, high) for level, (value, low, high) in zip(own["level"], rows, strict=True)}
