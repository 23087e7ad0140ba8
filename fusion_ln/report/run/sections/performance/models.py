"""Models: every metric of every model with its interval."""

import pandas as pd

from fusion_ln.evaluation.intervals import ALL_CLASSES, split_name
from fusion_ln.evaluation.limits.large import draws_by_sums
from fusion_ln.evaluation.repeats import GIVEN
from fusion_ln.metrics import METRICS
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.run.figures import draw_auc
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section

OF_NODES = WITHOUT_PATIENTS = True


def build(report: Report) -> Section:
    """Build the section; it has a figure of all models where the answer shows some of them only."""
    results = report.results
    partly = report.first_models != results.models
    return Section(
        place=10,
        anchor="models",
        link="Models",
        title="Models",
        subtitle="every metric with its 95 % interval",
        template="performance/models.html",
        plates=[draw_auc(results, results.models, "auc_all")] if partly else [],
        sheets=[Sheet("models", "Every metric of every model", model_table(results))],
        is_open=True,
        values={
            "metrics": shown_metrics(results),
            "given": GIVEN,
            "by_sums": any(draws_by_sums(m.predictions.labels, m.predictions.clusters) for m in results.models),
            "explanations": {m.title: report.link(m.explanation) for m in results.models if m.explanation},
            "audits": {m.title: report.link(m.audit) for m in results.models if m.audit},
        },
    )


def shown_metrics(results: Results) -> list[tuple[str, str, str]]:
    """List metric, class and heading of each column of the table of models."""
    shown = [metric.titles(results.cohort.classes) for metric in METRICS if metric.shown]
    return [(*split_name(name), title) for titles in shown for name, title in titles.items()]


def model_table(results: Results) -> pd.DataFrame:
    """Make one row per model, every metric followed by the ends of its 95 % interval."""
    rows = []
    for model in results.models:
        row: dict[str, str | float] = {
            "model": model.name,
            "title": model.title,
            "patients": len(model.predictions.table),
        }
        row["inner_auc"] = model.inner_auc
        own = results.intervals[results.intervals["model"] == model.name]
        for metric, of_class, value, low, high in own[["metric", "class", "value", "ci_low", "ci_high"]].to_numpy():
            column = metric if of_class == ALL_CLASSES else f"{metric}:{of_class}"
            row |= {column: value, f"{column}_low": low, f"{column}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)
