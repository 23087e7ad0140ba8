"""ROC curves: each class against the rest."""

import pandas as pd
from sklearn.metrics import roc_curve

from fusion_ln.evaluation.roc import roc_band
from fusion_ln.report.kit.curves import roc_axes
from fusion_ln.report.kit.figures import NARROW, Plate
from fusion_ln.report.kit.style import number
from fusion_ln.report.run.figures import colour_of, make_plate, short_model_title
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section

OF_NODES = WITHOUT_PATIENTS = True
DASHES = (
    (0, (4, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1.5, 1, 1.5)),
)  # of the fusions beside the headline's


def build(report: Report) -> Section:
    """Build the section, a figure per class."""
    results = report.results
    classes = results.cohort.classes
    bands = {name: {m.name: roc_band(m.predictions, name) for m in results.headline} for name in classes}
    return Section(
        place=70,
        anchor="roc",
        link="ROC",
        title="ROC curves",
        subtitle="each class against the rest",
        text=f"Bands: pointwise 95 % bootstrap intervals of {' and '.join(model.title for model in results.headline)}.",
        plates=[draw_roc(results, name, bands[name]) for name in classes],
        is_open=True,
    )


def draw_roc(results: Results, of_class: str, bands: dict[str, pd.DataFrame]) -> Plate:
    """Draw the ROC curves of one class against the rest, those of the headline's models with their bands.

    Args:
        results: What the report shows.
        of_class: The class.
        bands: By model of the headline, see `fusion_ln.evaluation.roc.roc_band`.
    """
    figure, axes = roc_axes(NARROW + 0.2)
    others = [m for m in (results.fusions or results.models) if m not in results.headline]
    for model in [*results.headline, *others]:
        shown = model.predictions
        label = shown.classes.index(of_class)
        x, y, _ = roc_curve(shown.labels == label, shown.probs[:, label])
        main = model in results.headline
        axes.plot(
            x,
            y,
            color=colour_of(results, model),
            lw=1.9 if main else 1.0,
            alpha=1 if main else 0.75,
            ls="-" if main else DASHES[others.index(model) % len(DASHES)],
            label=f"{short_model_title(model)}\u2002{number(results.interval(model, 'auc', of_class).value)}",
            zorder=3 if main else 2,
        )
        if main:
            band = bands[model.name]
            rates = band["false_positive_rate"]
            axes.fill_between(rates, band["ci_low"], band["ci_high"], color=colour_of(results, model), alpha=0.13, lw=0)
    axes.legend(loc="lower right", title="AUC", title_fontsize=7.5, alignment="right", handlelength=1.8)
    return make_plate(f"roc_{of_class}", f"{of_class} against the rest", "", figure, results)
