"""Sites: a model at each site that it did not learn from, where folds are sites."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.evaluation.probabilities.decision import TARGET_SENSITIVITY
from fusion_ln.evaluation.repeats import GIVEN
from fusion_ln.evaluation.sites.figures import (
    FEWEST_AT_SITE,
    SiteFigures,
    pooled_row,
    score_sites,
    sites_of_folds,
    threshold_drift,
)
from fusion_ln.evaluation.sites.pooling import FEWEST_SITES
from fusion_ln.metrics import PRIMARY
from fusion_ln.report.kit.figures import Plate, draw_interval, empty_rows, start_of_axis, write_note
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import number, spread
from fusion_ln.report.run.figures import colour_of, make_plate
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results, columns_first, stack
from fusion_ln.report.run.section import Report, Section, attempt

MEAN_OVER_SITES, NEW = "Mean over such sites", "A new site (95 % prediction)"
HEADINGS = {
    "auc": "AUC, mean",
    "new_low": "A new site, 95 % prediction",
    "sites": "Sites pooled",
    "i2": "I²",
    "tau2": "τ², of logits",
    "own_threshold": "The site’s own",
    "found": "Found",
    "positive": "Of malignant",
    "spared": "Spared",
    "negative": "Of benign",
}
ByModel = Mapping[str, SiteFigures]


def build(report: Report) -> Section | None:
    """Build the section where each fold is a site."""
    results = report.results
    sites = sites_of_folds(results.cohort.patients, results.cohort.folds)
    if not sites:
        return None
    scored = {model.name: score_sites(model.predictions, sites) for model in results.headline}
    figures, pooled = site_table(scored), pooled_table(scored)
    drift = drift_table(results, sites, reasons := list[str]())
    heterogeneity = Sheet("sites_pooled", "Heterogeneity over sites", pooled, HEADINGS)
    thresholds = Sheet("site_thresholds", "Thresholds at each site", drift, HEADINGS)
    recalls = Sheet("site_figures", "AUC and recall at each site", figures)
    return Section(
        place=105,
        anchor="sites",
        link="Sites",
        title="Sites",
        subtitle="each predicted by what learnt from the others",
        template="performance/sites.html",
        plates=[draw_sites(results, model, scored[model.name]) for model in results.headline],
        sheets=[recalls, heterogeneity, thresholds],
        left_out=reasons,
        headline=_headline(results, scored),
        values={
            "given": GIVEN,
            "needs": FEWEST_AT_SITE,
            "fewest": FEWEST_SITES,
            "pooled": len(pooled) > 0,
            "sites": len(sites),
            "left": _left_out(scored[results.main.name]),
            "sensitivity": TARGET_SENSITIVITY,
            "recalls": _recalls_of(recalls, results.main.name),
            "main": results.main.title,
        },
    )


def site_table(scored: ByModel) -> pd.DataFrame:
    """Make ``model, site, n, <class>..., metric, class, value, ci_low, ci_high``."""
    tables = {name: each.counts.drop(columns="pooled").merge(each.metrics, on="site") for name, each in scored.items()}
    return stack(tables)


def pooled_table(scored: ByModel) -> pd.DataFrame:
    """Make a row per model with at least two pooled sites, see `pooled_row`."""
    rows = {name: pooled_row(each.auc) for name, each in scored.items() if each.auc}
    table = pd.DataFrame(rows.values(), index=pd.Index(rows, name="model")).reset_index()
    columns = ["model", "sites", "auc", "ci_low", "ci_high", "new_low", "new_high", "q", "p", "i2", "tau2"]
    return table.reindex(columns=columns)


def drift_table(results: Results, sites: Mapping[int, str], reasons: list[str]) -> pd.DataFrame:
    """Make ``model, site, threshold, own_threshold, found, positive, sensitivity, ...``: calibrated."""
    tables = {}
    for model in results.headline if results.malignant else ():
        if not model.calibrated:
            reasons[:] = [model.uncalibrated]
            continue
        pair = (model.calibrated.predictions, model.calibrated.inner)
        found = attempt(reasons, threshold_drift, *pair, sites, results.malignant, sensitivity=TARGET_SENSITIVITY)
        if found is not None:
            tables[model.name] = found
    return columns_first(stack(tables), "model", "site") if tables else pd.DataFrame()


def draw_sites(results: Results, model: Model, figures: SiteFigures) -> Plate:
    """Draw the forest of the sites' AUCs, their mean, and the prediction interval of a new site."""
    sizes = dict(zip(figures.counts["site"], figures.counts["n"], strict=True))
    of_auc = figures.metrics[(figures.metrics["metric"] == PRIMARY) & (figures.metrics["class"] == ALL_CLASSES)]
    rows = [
        (f"{site} ({sizes[site]})", (float(value), float(low), float(high)))
        for site, value, low, high in of_auc[["site", "value", "ci_low", "ci_high"]].itertuples(index=False, name=None)
    ]
    n_sites = len(rows)
    if figures.auc:
        pooled = pooled_row(figures.auc)
        value, low, high = (float(pooled[name] or np.nan) for name in ("auc", "ci_low", "ci_high"))
        rows.append((MEAN_OVER_SITES, (value, low, high)))
        if pooled["new_low"] is not None and pooled["new_high"] is not None:
            rows.append((NEW, (value, float(pooled["new_low"]), float(pooled["new_high"]))))
    figure, axes = empty_rows([(title, y >= n_sites) for y, (title, _) in enumerate(rows)])
    for y, (title, (value, low, high)) in enumerate(rows):
        draw_interval(axes, y, value, low, high, colour_of(results, model), fused=y >= n_sites)
        shown = spread(low, high) if np.isfinite(low) else "too few for an interval"
        write_note(axes, y, shown if title == NEW else f"{number(value)} ({shown})", bold=y >= n_sites)
    axes.set_xlim(start_of_axis(x for _, row in rows for x in row), 1.0)
    axes.set_xlabel("AUC (mean of each class against the rest), 95 % interval")
    caption = f"{model.title}. Patients in brackets; diamond: mean over sites such as these."
    return make_plate(f"sites_{model.name}", f"AUC at each site: {model.title}", caption, figure, results)


def _headline(results: Results, scored: ByModel) -> str:
    """Tell what to expect of the main model at a new site, where that can be told."""
    pooled = scored[results.main.name].auc
    if pooled is None or (row := pooled_row(pooled))["new_low"] is None:
        return ""
    low, high = (float(row[name] or np.nan) for name in ("new_low", "new_high"))
    return (
        f"At a new site such as these, an AUC of {number(low)} to {number(high)} is expected of {results.main.title}."
    )


def _recalls_of(figures: Sheet, model: str) -> Sheet:
    """Keep the recalls of a model: ``site, class, value, ci_low, ci_high``."""
    shown = figures.only(model=model, metric="recall")
    return replace(shown, table=shown.table[["site", "class", "value", "ci_low", "ci_high"]])


def _left_out(figures: SiteFigures) -> list[str]:
    """Name the sites that are not pooled."""
    return figures.counts.loc[~figures.counts["pooled"].astype(bool), "site"].tolist()
