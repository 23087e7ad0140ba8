"""Another population: what the classes' shares there make of the figures; only where a prevalence was given."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from fusion_ln.evaluation.probabilities.decision import (
    TARGET_SENSITIVITY,
    choose_thresholds,
    decision_curve,
    net_benefit_difference,
)
from fusion_ln.evaluation.probabilities.maps import Calibrated
from fusion_ln.evaluation.probabilities.prevalence import figures_at, point_at
from fusion_ln.report.kit.sheets import WORDS, Sheet
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results, columns_first, stack
from fusion_ln.report.run.section import Report, Section, attempt
from fusion_ln.report.run.sections.evidence.calibration import CALIBRATED
from fusion_ln.report.run.sections.evidence.decisions import draw_decisions

IN_COHORT, AT_PREVALENCE = "cohort", "prevalence"  # columns
POPULATION_HEADINGS = {
    IN_COHORT: "In the cohort",
    AT_PREVALENCE: "At the prevalence",
    "calibration": "Calibration patients",
}
HEADINGS = {IN_COHORT: "In the cohort, calibrated", AT_PREVALENCE: "At the prevalence"}
VALUE_TITLES = {
    "ppv": "Positive predictive value",
    "npv": "Negative predictive value",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
}


def build(report: Report) -> Section | None:
    """Build the section; None where no prevalence was given."""
    results = report.results
    if results.prevalence is None:
        return None
    reasons = [model.uncalibrated for model in results.headline if not model.calibrated]
    figures = _sheet("prevalence_figures", "Figures by class", results, reasons, _figures)
    points = _sheet("prevalence_operating_points", "Frozen operating point", results, reasons, _points)
    curves = _net_benefit(results)
    given = zip(results.cohort.classes, results.prevalence, strict=True)
    return Section(
        place=95,
        anchor="prevalence",
        link="Another population",
        title="Another population",
        subtitle=", ".join(f"{share:.3g} {name}" for name, share in given),
        template="evidence/prevalence.html",
        plates=[draw_decisions(results, curves, "decision_curves_prevalence", "Net benefit at the prevalence")]
        if len(curves)
        else [],
        sheets=[
            Sheet("prevalence", "Shares of the classes", shares_of(results), POPULATION_HEADINGS),
            figures,
            points,
            Sheet("decision_curves_prevalence", "Net benefit at the prevalence", curves),
            Sheet("net_benefit_difference_prevalence", "Difference at the prevalence", _gain(results)),
        ],
        left_out=list(dict.fromkeys(reasons)),
        values={"figures": figures if len(figures.table) else None, "points": points if len(points.table) else None},
    )


def shares_of(results: Results) -> pd.DataFrame:
    """Make ``class, cohort, calibration, prevalence``: shares; those of the calibration patients over all folds."""
    assert results.prevalence is not None
    main = results.main
    counts = np.bincount(main.predictions.labels, minlength=len(results.cohort.classes))
    table = pd.DataFrame({"class": results.cohort.classes, IN_COHORT: counts / counts.sum()})
    if main.calibrated:
        maps = main.calibrated.maps.values()
        table["calibration"] = np.average([m.shares for m in maps], axis=0, weights=[m.patients for m in maps])
    return table.assign(**{AT_PREVALENCE: results.prevalence})


def _sheet(
    name: str,
    title: str,
    results: Results,
    reasons: list[str],
    describe: Callable[[Results, Model, Calibrated], pd.DataFrame],
) -> Sheet:
    """Describe each calibrated model of the headline."""
    tables = {}
    for model in results.headline:
        if model.calibrated:
            failed = list[str]()
            found = attempt(failed, describe, results, model, model.calibrated)
            reasons += failed
            if found is not None and len(found):
                tables[model.name] = found
    table = stack(tables) if tables else pd.DataFrame()
    return Sheet(name, title, table, HEADINGS, {"metric": {**WORDS["metric"], **VALUE_TITLES}})


def _figures(results: Results, model: Model, calibrated: Calibrated) -> pd.DataFrame:
    """Make ``metric, class, cohort, cohort_low, cohort_high, prevalence, prevalence_low, prevalence_high``."""
    assert results.prevalence is not None
    counts = np.bincount(model.predictions.labels, minlength=len(results.prevalence))
    in_cohort = figures_at(calibrated.predictions, counts / counts.sum())
    at_prevalence = figures_at(calibrated.at(results.prevalence), results.prevalence)
    return _side_by_side(in_cohort, at_prevalence)


def _points(results: Results, model: Model, calibrated: Calibrated) -> pd.DataFrame:
    """Make ``metric, cohort, ..., prevalence, ...`` of the operating point; empty without a benign class."""
    if not results.malignant:
        return pd.DataFrame()
    predictions = calibrated.predictions
    thresholds = choose_thresholds(predictions, calibrated.inner, results.malignant, sensitivity=TARGET_SENSITIVITY)
    in_cohort, at_prevalence = (
        point_at(predictions, thresholds, results.malignant, prevalence=shares) for shares in (None, results.prevalence)
    )
    return _side_by_side(in_cohort, at_prevalence)


def _side_by_side(in_cohort: pd.DataFrame, at_prevalence: pd.DataFrame) -> pd.DataFrame:
    """Put values and intervals of two populations side by side, row by row."""
    names = {"value": "{}", "ci_low": "{}_low", "ci_high": "{}_high"}
    parts = [
        table.rename(columns={old: new.format(name) for old, new in names.items()})
        for name, table in ((IN_COHORT, in_cohort), (AT_PREVALENCE, at_prevalence))
    ]
    keys = [column for column in ("metric", "class") if column in in_cohort]
    both = pd.concat([parts[0], parts[1].drop(columns=keys)], axis=1).astype(object)
    return both.where(both.notna(), None)


def _net_benefit(results: Results) -> pd.DataFrame:
    """Make ``model, probabilities, threshold, net_benefit, ...`` of the headline at the prevalence."""
    prevalence, tables = results.prevalence, {}
    for model in results.headline if results.malignant else ():
        if model.calibrated and prevalence is not None:
            shifted = model.calibrated.at(prevalence)
            tables[model.name] = decision_curve(shifted, results.malignant, prevalence=prevalence)
    if not tables:
        return pd.DataFrame()
    return columns_first(stack(tables).assign(probabilities=CALIBRATED), "model", "probabilities")


def _gain(results: Results) -> pd.DataFrame:
    """Make ``model, reference, threshold, net_benefit_a, net_benefit_b, difference, ...`` at the prevalence."""
    a, b, prevalence = results.candidate, results.reference, results.prevalence
    if not (results.malignant and a and b and a.calibrated and b.calibrated and prevalence is not None):
        return pd.DataFrame()
    pair = (a.calibrated.at(prevalence), b.calibrated.at(prevalence))
    table = net_benefit_difference(*pair, results.malignant, prevalence=prevalence)
    return columns_first(table.assign(model=a.name, reference=b.name), "model", "reference")
