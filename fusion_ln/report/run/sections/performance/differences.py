"""Differences: each model minus the reference, on the same patients."""

from dataclasses import replace

import pandas as pd

from fusion_ln.evaluation.compare import ENDPOINT, EXPLORATORY, SECONDARY
from fusion_ln.evaluation.delong import MACRO
from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.evaluation.repeats import GIVEN
from fusion_ln.evaluation.swaps import name_test
from fusion_ln.metrics import PRIMARY
from fusion_ln.report.kit.figures import Plate, draw_interval, show_zero, write_note
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import cell, signed, signed_spread
from fusion_ln.report.run.figures import colour_of, make_plate, model_rows
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results, Test
from fusion_ln.report.run.section import Report, Section
from fusion_ln.report.run.text import better_than_each, p_value

OF_NODES = WITHOUT_PATIENTS = True
COMPARISON = {"model_a": "Model", "auc_a": "AUC", "auc_b": "AUC of reference", "family": "Question"}
QUESTIONS = {ENDPOINT: "primary, not corrected", SECONDARY: "secondary, Holm", EXPLORATORY: "exploratory"}
TEST_TITLES = {
    "model_a": "Model",
    "a_alone": "Right where the reference is wrong",
    "b_alone": "Wrong where the reference is right",
    "false_claim": "Probability that a gain is none",
}


def build(report: Report) -> Section | None:
    """Build the section where there is a reference and another model."""
    results, comparison = report.results, report.results.comparison
    if comparison is None or results.reference is None:
        return None
    weak = results.weak_class
    pairs = Sheet(
        "comparison",
        "AUC of each model minus that of the reference",
        comparison.comparison,
        COMPARISON,
        {"family": QUESTIONS},
    )
    tests = Sheet("tests", "Accuracy: McNemar's test", comparison.tests, TEST_TITLES)
    return Section(
        place=20,
        anchor="differences",
        link="Differences",
        title="Differences",
        subtitle=f"each model minus {results.reference.title}",
        template="performance/differences.html",
        plates=[
            draw_differences(results, PRIMARY, ALL_CLASSES, "AUC"),
            draw_differences(results, "recall", weak, f"recall of {weak}"),
        ],
        sheets=[
            pairs,
            each_alone(results),
            Sheet("differences", "Every metric of each model minus that of the reference", results.differences),
            tests,
        ],
        is_open=True,
        values={
            "comparison": asked_rows(pairs),
            "tests": tests.only(model_b=results.reference.name, class_=ALL_CLASSES, test="McNemar"),
            "families": describe_families(report),
            "given": GIVEN,
            "test": name_test(results.compared_patients),
        },
    )


def each_alone(results: Results) -> Sheet:
    """Make the table of the headline's fusion against each modality alone; without rows where one is compared only."""
    assert results.comparison is not None
    found = results.comparison.better_than_each
    table = found.differences if found and len(found.others) > 1 else pd.DataFrame()
    headings = {"model_a": "Model", "model_b": "Alone", "auc_a": "AUC", "auc_b": "AUC alone"}
    return Sheet("each_alone", "The fusion minus each modality alone", table, headings)


def asked_rows(pairs: Sheet) -> Sheet:
    """Keep the rows that answer a question, the primary endpoint first, with one p-value of each hypothesis."""
    table = pairs.table.drop(columns=["model_b", "bootstrap_p", "delong_z", "delong_p"])
    table = table[table["family"].notna()]
    table = table.sort_values("family", key=lambda family: family.map(list(QUESTIONS).index), kind="stable")
    return replace(pairs, table=table.dropna(axis="columns", how="all"))


def describe_families(report: Report) -> list[str]:
    """Name the questions and how their p-values are corrected."""
    results = report.results
    assert results.comparison is not None
    assert results.reference is not None
    table, found = results.comparison.comparison, []
    if results.candidate is not None and results.primary_test is not None:
        found.append(_describe_primary(results.candidate, results.reference, results.primary_test))
    if others := int((table["family"] == SECONDARY).sum()):
        found.append(f"Secondary: the mean AUC of the {others} other models that are asked about, corrected by Holm.")
    if (table["family"] == EXPLORATORY).any():
        found.append("Exploratory: the AUC of each class, by Benjamini-Hochberg over all of these rows.")
    elif table["class"].nunique() == 1 + len(results.cohort.classes) and len(results.cohort.classes) == 2:
        found.append("With two classes the AUC of either class is the mean AUC: one test, counted once.")
    left = table.loc[(table["class"] == MACRO) & table["family"].isna(), "model_a"].nunique()
    if left:
        where = "" if report.without_patients else ": in the CSV table only"
        found.append(f"{left} single models against the reference are no question of this page{where}.")
    if sentence := better_than_each(results):
        found.append(sentence)
    return found


def _describe_primary(candidate: Model, reference: Model, test: Test) -> str:
    """State the primary endpoint's p-value and, of a gain, the probability that it is none."""
    text = (
        f"Primary endpoint: the mean AUC of {candidate.title} against {reference.title}. One test, not corrected, "
        f"{p_value(test.p)}. A large p is no sign that the models are equal."
    )
    if test.difference <= 0:
        return text
    # Flat prior and normal likelihood: the posterior probability of no gain is the one-sided p-value.
    return f"{text} The probability that the gain is none is {cell(test.p / 2)}, were any difference as likely before."


def draw_differences(results: Results, metric: str, of_class: str, what: str) -> Plate:
    """Draw a forest plot of each other model minus the reference."""
    shown = tuple(model for model in results.others if not model.is_chance)  # far from all others
    figure, axes = model_rows(shown, results)
    for y, model in enumerate(shown):
        row = results.difference(model, metric, of_class)
        draw_interval(
            axes, y, row.difference, row.ci_low, row.ci_high, colour_of(results, model), fused=model.is_fusion
        )
        text = f"{signed(row.difference)} ({signed_spread(row.ci_low, row.ci_high)})"
        write_note(axes, y, text, bold=model is results.candidate)
    show_zero(axes)
    axes.set_xlabel("Difference; left of zero the reference is better")
    assert results.reference is not None
    name = "_".join(["difference", metric, *([of_class] if of_class != ALL_CLASSES else [])])
    caption = f"Same patients for all models; 95 % intervals {GIVEN}. Reference: {results.reference.title}."
    return make_plate(name, f"Difference in {what}", caption, figure, results)
