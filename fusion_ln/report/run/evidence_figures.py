"""The figures of the reviewer's evidence: calibration, decisions, subgroups and subsets of the triplet."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.metrics import PRIMARY
from fusion_ln.report.kit.figures import (
    NARROW,
    WIDE,
    Plate,
    draw_interval,
    draw_tick,
    empty_rows,
    write_note,
)
from fusion_ln.report.kit.style import INK, LINE, MUTED, number, spread
from fusion_ln.report.run.evidence import AFTER, BEFORE, Evidence
from fusion_ln.report.run.figures import colour_of, make_plate
from fusion_ln.report.run.results import Model
from fusion_ln.terms import short_title


def draw_reliability(evidence: Evidence, of_class: str) -> Plate:
    """Observed share over predicted probability of one class, before and after temperature scaling; the main model."""
    results = evidence.results
    model, table = results.main, evidence.reliability
    own = table[(table["model"] == model.name) & (table["class"] == of_class)]
    figure = Figure(figsize=(NARROW, NARROW + 0.1), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=LINE, lw=0.9, zorder=1)
    looks = {BEFORE: (MUTED, "none", (0, (3, 1.5))), AFTER: (colour_of(results, model),) * 2 + ("-",)}
    for stage, (colour, face, style) in looks.items():
        bins = own[own["stage"] == stage]
        if stage == AFTER:
            axes.vlines(bins["predicted"], bins["ci_low"], bins["ci_high"], color=colour, lw=2.2, alpha=0.35)
        axes.plot(
            bins["predicted"], bins["observed"], color=colour, lw=1.1, ls=style, marker="o", ms=4, mfc=face, label=stage
        )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set_xlabel("Predicted probability")
    axes.set_ylabel("Observed share")
    axes.tick_params(labelcolor=MUTED, length=3)
    axes.legend(loc="upper left")
    return make_plate(f"reliability_{of_class}", of_class, "", figure, results)


def draw_decisions(evidence: Evidence) -> Plate:
    """Net benefit over the threshold: the headline's models, treating everyone, treating no one."""
    results, table = evidence.results, evidence.decisions
    figure = Figure(figsize=(WIDE, 3.0), layout="constrained")
    axes = figure.add_subplot()
    shared = table[table["model"] == table["model"].iloc[0]]
    axes.axhline(0, color=INK, lw=0.9, label="take no one for malignant")
    axes.plot(shared["threshold"], shared["treat_all"], color=MUTED, lw=1.1, ls=(0, (3, 1.5)), label="take everyone")
    for model in results.headline:
        own, colour = table[table["model"] == model.name], colour_of(results, model)
        axes.fill_between(own["threshold"], own["ci_low"], own["ci_high"], color=colour, alpha=0.13, lw=0)
        axes.plot(own["threshold"], own["net_benefit"], color=colour, lw=1.7, label=model.title)
    top = float(table["net_benefit"].max())
    axes.set(xlim=(0, 1), ylim=(-0.75 * top, 1.12 * top))
    axes.set_xlabel("Probability of malignancy from which one acts")
    axes.set_ylabel("Net benefit")
    axes.tick_params(labelcolor=MUTED, length=3)
    axes.legend(loc="lower left")
    caption = (
        "Net benefit: the share of patients rightly taken for malignant, less the share wrongly taken so, weighted by "
        "the odds of the threshold. Band: 95 % bootstrap interval."
    )
    return make_plate("decision_curves", "Malignant against benign", caption, figure, results)


def draw_subgroups(evidence: Evidence, variable: str) -> Plate:
    """AUC of the headline's models by the levels of a variable, on one scale for all variables."""
    results, groups = evidence.results, evidence.by_variable[variable]
    counts = groups[results.main.name].counts
    figure, axes = empty_rows(
        [(f"{level} ({n})", False) for level, n in zip(counts["level"], counts["n"], strict=True)]
    )
    scored = {model.name: _auc_by_level(groups[model.name].metrics) for model in results.headline}
    for y, level in enumerate(counts["level"]):
        for place, model in enumerate(results.headline):
            if level in scored[model.name]:
                at, colour = y + 0.04 + 0.22 * place, colour_of(results, model)
                draw_interval(axes, at, *scored[model.name][level], colour, fused=model.is_fusion)
        values = [number(scored[m.name][level][0], 2) for m in results.headline if level in scored[m.name]]
        write_note(axes, y, " · ".join(values) or "too few to score")
    everything = [own for of in evidence.by_variable.values() for own in of.values()]
    lows = [low for own in everything for _, low, _ in _auc_by_level(own.metrics).values()]
    axes.set_xlim(np.floor(20 * (min(lows, default=0.5) - 0.01)) / 20, 1.0)
    axes.set_ylim(len(counts) - 0.4, -0.65)
    axes.set_xlabel("AUC (mean of each class against the rest), 95 % interval")
    caption = f"Patients in brackets. {' · '.join(model.title for model in results.headline)}."
    return make_plate(f"auc_by_{variable}", f"By {variable}", caption, figure, results)


def draw_subsets(evidence: Evidence, model: Model) -> Plate:
    """AUC of one model from every subset of the modalities and, on a phantom, the attainable one."""
    results, table = evidence.results, evidence.subsets
    own = table[(table["model"] == model.name) & (table["metric"] == PRIMARY) & (table["class"] == ALL_CLASSES)]
    figure, axes = empty_rows([(_subset_title(name), "+" not in name) for name in own["modalities"]])
    found = results.cohort.details.attainable.cohort
    values = own[["value", "ci_low", "ci_high"]].to_numpy(dtype=float)
    for y, (name, (value, low, high)) in enumerate(zip(own["modalities"], values, strict=True)):
        draw_interval(axes, y, value, low, high, colour_of(results, model), fused=model.is_fusion)
        write_note(axes, y, f"{number(value)} ({spread(low, high)})")
        if name in found:
            draw_tick(axes, y, found[name]["auc"])
    axes.set_xlim(right=1.0)
    axes.set_xlabel("AUC (mean of each class against the rest), 95 % interval")
    caption = "The same trained model, given only these pictures of each patient."
    if found:
        caption += " Upright tick: the AUC attainable from them."
    return make_plate(f"subsets_{model.name}", model.title, caption, figure, results)


def _auc_by_level(metrics: pd.DataFrame) -> dict[str, tuple[float, float, float]]:
    """Value and interval of the macro AUC of every scored level."""
    own = metrics[(metrics["metric"] == PRIMARY) & (metrics["class"] == ALL_CLASSES)]
    rows = own[["value", "ci_low", "ci_high"]].to_numpy(dtype=float)
    return {level: (value, low, high) for level, (value, low, high) in zip(own["level"], rows, strict=True)}


def _subset_title(name: str) -> str:
    return " + ".join(short_title(part) for part in name.split("+"))
