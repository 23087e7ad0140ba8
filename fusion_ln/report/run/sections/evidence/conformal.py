"""Conformal sets: the classes of a patient that cannot be ruled out."""

import pandas as pd

from fusion_ln.evaluation.probabilities.conformal import (
    ConformalMethod,
    ConformalSets,
    cross_conformal_sets,
    split_sets,
)
from fusion_ln.evaluation.probabilities.cv_plus import MISS_RATE
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.run.results import Results, columns_first
from fusion_ln.report.run.section import Report, Section, attempt

OF_NODES = WITHOUT_PATIENTS = True
SET_METHODS: tuple[ConformalMethod, ...] = ("lac", "aps")
HEADINGS = {
    "mean_size": "Classes in a set, mean",
    "single": "Sets of one class",
    "several": "Sets of several",
    "empty": "Empty sets",
    "set": "Classes not ruled out",
    "size": "Number of classes",
}
# Of nodes: a class is covered for a patient where the sets of all the patient's nodes of the class hold it.
NODE_HEADINGS = HEADINGS | {
    "n": "Patients with a node of the class",
    "covered": "Of these, covered",
    "mean_size": "Classes in a node's set, mean",
    "single": "Nodes with one class",
    "several": "Nodes with several",
    "empty": "Nodes with none",
}
Sets = dict[tuple[str, ConformalMethod], ConformalSets]


def build(report: Report) -> Section:
    """Build the section; where no set could be made it holds the reason alone."""
    results = report.results
    sets, reasons = report.once(sets_of_models)
    split, too_few = split_of_models(results)
    words: dict[str, dict[str, str]] = {"method": {method: method.upper() for method in SET_METHODS}}
    headings = NODE_HEADINGS if results.cohort.of_nodes else HEADINGS
    check = {"coverage": "Coverage, in-sample check"}
    coverage = Sheet("conformal_coverage", "Cross-conformal sets", coverage_of(sets), headings | check, words)
    measured = {"coverage": "Coverage, held-out patients"}
    split_coverage = Sheet("split_coverage", "Split sets", coverage_of(split), headings | measured, words)
    undecided_patients = Sheet(
        "undecided",
        f"{'Nodes' if results.cohort.of_nodes else 'Patients'} left undecided",
        undecided(sets, results),
        headings,
    )
    sheets = [coverage, split_coverage]
    shown = [model.name for model in results.headline]
    return Section(
        place=100,
        anchor="sets",
        link="Conformal sets",
        title="Conformal sets",
        subtitle="which classes cannot be ruled out?",
        template="evidence/conformal.html",
        sheets=sheets if report.without_patients else [*sheets, undecided_patients],
        left_out=[*reasons, *too_few],
        values={
            "coverage": coverage.only(model=shown) if sets else None,
            "split": split_coverage.only(model=shown) if split else None,
            "main": results.main.title,
        },
    )


def sets_of_models(results: Results) -> tuple[Sets, list[str]]:
    """Make the cross-conformal sets of every model by every method, from calibrated probabilities where there are such.

    Returns:
        The sets by model and method, and the reason why the last missing ones could not be made.
    """
    sets, reasons = Sets(), list[str]()
    for model in results.models:
        for method in SET_METHODS:
            found = attempt(reasons, cross_conformal_sets, model.calibrated_or_raw, method=method, alpha=MISS_RATE)
            if found:
                sets[model.name, method] = found
    return sets, reasons


def split_of_models(results: Results) -> tuple[Sets, list[str]]:
    """Make the split sets of every calibrated model, as `sets_of_models` does."""
    sets, reasons = Sets(), list[str]()
    for model in results.models:
        if model.calibrated is None:
            continue
        for method in SET_METHODS:
            given = (model.calibrated.predictions, model.calibrated.inner)
            if found := attempt(reasons, split_sets, *given, method=method, alpha=MISS_RATE):
                sets[model.name, method] = found
    return sets, reasons


def coverage_of(sets: Sets) -> pd.DataFrame:
    """Make ``model, method, class, n, covered, coverage, ci_low, ci_high, mean_size, single, several, empty``."""
    tables = [each.coverage().assign(model=name, method=method) for (name, method), each in sets.items()]
    return columns_first(pd.concat(tables, ignore_index=True), "model", "method") if tables else pd.DataFrame()


def undecided(sets: Sets, results: Results) -> pd.DataFrame:
    """List ``patient_id, truth, set, size`` of the patients whom the main model's LAC sets leave undecided."""
    of_main = sets.get((results.main.name, "lac"))
    return of_main.undecided() if of_main else pd.DataFrame()
