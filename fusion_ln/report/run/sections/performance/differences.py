"""Differences: each model minus the reference, on the same patients."""

from fusion_ln.evaluation.compare import FAMILY
from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.metrics import PRIMARY
from fusion_ln.report.kit.figures import Plate, draw_interval, show_zero, write_note
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import signed, signed_spread
from fusion_ln.report.run.figures import colour_of, make_plate, model_rows
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section

COMPARISON = {"model_a": "Model", "auc_a": "AUC", "auc_b": "AUC of reference", "bootstrap_p": "p, bootstrap"}
TESTS = {"model_a": "Model", "p_bh": "p, Benjamini-Hochberg"}


def build(report: Report) -> Section | None:
    """Build the section where there is a reference and another model."""
    results, comparison = report.results, report.results.comparison
    if comparison is None or results.reference is None:
        return None
    weak = results.weak_class
    pairs = Sheet("comparison", "AUC of each model minus that of the reference", comparison.comparison, COMPARISON)
    tests = Sheet("tests", "Tests and corrections", comparison.tests, TESTS)
    return Section(
        place=20,
        anchor="differences",
        link="Differences",
        title="Differences",
        subtitle=f"each model minus {results.reference.title}",
        template="differences.html",
        plates=[
            draw_differences(results, PRIMARY, ALL_CLASSES, "AUC"),
            draw_differences(results, "recall", weak, f"recall of {weak}"),
        ],
        sheets=[
            pairs,
            Sheet("differences", "Every metric of each model minus that of the reference", results.differences),
            tests,
        ],
        is_open=True,
        values={
            "comparison": pairs.only(model_b=results.reference.name),
            "tests": tests.only(model_b=results.reference.name),
            "family": FAMILY,
        },
    )


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
    caption = f"Same patients for all models; 95 % percentile bootstrap. Reference: {results.reference.title}."
    return make_plate(name, f"Difference in {what}", caption, figure, results)
