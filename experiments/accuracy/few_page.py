"""Page and learning curves of `few_patients.py`."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import t

from fusion_ln.bench.page import table_head, table_row
from fusion_ln.report.kit.style import figure_style, png_of

MODELS = (
    "2d", "cdfi", "elastic", "late-mean", "late-logit", "late-stacked", "late-product", "concat", "cross-attention"
)  # fmt: skip
POSTERIOR, LATE, HEADS = "posterior", "late-logit", ("concat", "cross-attention")
LEAST_SEEDS = 3  # that tell a difference apart: two may agree by chance
RIVALS = tuple(model for model in MODELS if model.startswith("late-") and model != LATE) + HEADS
COLOURS = {
    "2d": "#9aa5b1", "cdfi": "#c98a5b", "elastic": "#6f9e6a", "late-mean": "#b58900", "late-logit": "#1b2430",
    "late-stacked": "#c0568a", "late-product": "#8a6a14", "concat": "#3a35a8", "cross-attention": "#a8325a",
}  # fmt: skip


def wide(rows: pd.DataFrame, figure: str) -> pd.DataFrame:
    """Pivot one figure: a row per cell, a column per model."""
    return rows.pivot_table(index=["start", "patients", "seed"], columns="model", values=figure)


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Compute the mean of a figure of several seeds and its 95 % interval by Student's t; NaN for a single one."""
    mean, n = float(np.mean(values)), len(values)
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    return mean, mean - half, mean + half


def written(values: np.ndarray, digits: int = 3) -> str:
    """Write the mean of a difference with its interval; of a single seed, without."""
    mean, low, high = interval(values)
    return f"{mean:+.{digits}f}" + ("" if math.isnan(low) else f" ({low:+.{digits}f} to {high:+.{digits}f})")


def draw(rows: pd.DataFrame) -> bytes:
    """Draw AUC over patients by start, what is attainable as a line, and below it the heads' gain over late fusion."""
    aucs = wide(rows, "auc")
    starts, sizes = sorted(set(rows["start"])), sorted(set(rows["patients"]))
    with figure_style():
        figure = Figure(figsize=(3.9 * len(starts) + 1.2, 5.8), layout="constrained")
        axes = figure.subplots(2, len(starts), squeeze=False, sharex=True, sharey="row", height_ratios=[1.7, 1])
        for column, start in enumerate(starts):
            cell, (above, below) = aucs.loc[start], axes[:, column]
            means = cell.groupby("patients").mean()
            above.plot(means.index, means[POSTERIOR], color="k", linestyle="--", label="attainable")
            for model in MODELS:
                above.plot(means.index, means[model], marker="o", markersize=3, color=COLOURS[model], label=model)
            above.set_title({"scratch": "from random weights"}.get(start, start))
            for place, head in enumerate(HEADS):
                gains = [interval(each.to_numpy()) for _, each in (cell[head] - cell[LATE]).groupby("patients")]
                mean, low, high = np.array(gains).T
                below.errorbar(
                    means.index * 1.03 ** (2 * place - 1), mean, np.nan_to_num([mean - low, high - mean]),
                    marker="o", markersize=3, capsize=2, color=COLOURS[head], label=head,
                )  # fmt: skip
            below.axhline(0, color="k", linewidth=0.8)
            below.set_xscale("log")
            below.set_xticks(sizes, [str(each) for each in sizes])
            below.minorticks_off()
            below.set_xlabel("Patients")
        axes[0, 0].set_ylabel("Macro AUC, out of fold")
        axes[1, 0].set_ylabel(f"Gain over {LATE}")
        axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
        figure.draw_without_rendering()  # lays the parts out
        return png_of(figure, "Learning curves by number of simulated patients; bars: 95 % over the seeds")


def render(rows: pd.DataFrame, left: list[str], origin: str) -> str:
    """Write the page."""
    lines = ["# Few patients: learning curves from two starts", "", origin, ""]
    lines += [
        "**Simulated** patients, those of each seed its own; resnet10t at 64 px, fine-tuned with twice the "
        "augmentation, as the first run does, on labels as they are, which it has smoothed since, from random weights "
        "or pre-trained on the simulated organ tasks. All seeds share one pre-training, whose chance no interval "
        "knows. Macro AUC, one against the rest, out of fold, mean over the seeds. Trained on: "
        f"{', '.join(sorted(set(rows['machine'])))}. Every cell and model: `few_patients.csv`.", "",
        "![Learning curves](few_patients.png)", "",
        *table_head(["patients", "start", "seeds", "attainable", *MODELS]),
    ]  # fmt: skip
    aucs = wide(rows, "auc")
    for (start, size), cell in aucs.groupby(["start", "patients"]):
        shown = [f"{cell[name].mean():.3f}" for name in (POSTERIOR, *MODELS)]
        lines.append(table_row([str(size), str(start), str(len(cell)), *shown]))
    lines += ["", f"Not trained: {', '.join(left) or 'none'}.", ""]
    lines += [f"## Gain over {LATE}", "", "Mean over the seeds with its 95 % interval (Student's t).", ""]
    lines += table_head(["patients", "start", "seeds", *RIVALS])
    for (start, size), cell in aucs.groupby(["start", "patients"]):
        gains = [written((cell[name] - cell[LATE]).to_numpy()) for name in RIVALS]
        lines.append(table_row([str(size), str(start), str(len(cell)), *gains]))
    lines += ["", *_pretraining(aucs), *_lymphoma(rows), *_advice(aucs)]
    return "\n".join([*lines, ""])


def _pretraining(aucs: pd.DataFrame) -> list[str]:
    """Tabulate what pre-training adds, where both starts are there."""
    starts = {start: cell.droplevel("start") for start, cell in aucs.groupby("start")}
    if len(starts) < 2:
        return []
    gained = (starts["pretrained"] - starts["scratch"]).dropna()
    lines = ["## Gain of pre-training", "", "Mean over the seeds with its 95 % interval.", ""]
    lines += table_head(["patients", "seeds", *MODELS])
    for size, cell in gained.groupby("patients"):
        lines.append(table_row([str(size), str(len(cell)), *(written(cell[name].to_numpy()) for name in MODELS)]))
    return [*lines, ""]


def _lymphoma(rows: pd.DataFrame) -> list[str]:
    """Tabulate the recall of lymphoma beside the posterior's, and its gain over the best single modality."""
    singles, lines = list(MODELS[:3]), ["## Recall of lymphoma", ""]
    lines += [
        "The most probable class, classes weighed equally (*balanced*) or as frequent as they are (*prevalence*); "
        "neither bounds a model. In brackets the gain over the single modality of the highest AUC, balanced.", "",
        *table_head(["patients", "start", "seeds", "rule", POSTERIOR, "best single", LATE, *HEADS]),
    ]  # fmt: skip
    best = wide(rows, "auc")[singles].idxmax(axis=1)
    for rule in ("balanced", "prevalence"):
        recalls = wide(rows, f"recall_{rule}")
        single = pd.Series(
            [recalls.loc[key, name] for key, name in zip(best.index, best, strict=True)], index=best.index
        )
        for (start, size), cell in recalls.groupby(["start", "patients"]):
            of_single = single.loc[cell.index]
            shown = [f"{cell[POSTERIOR].mean():.2f}", f"{of_single.mean():.2f}"]
            for name in (LATE, *HEADS):
                gain = f" ({written((cell[name] - of_single).to_numpy(), 2)})" if rule == "balanced" else ""
                shown.append(f"{cell[name].mean():.2f}{gain}")
            lines.append(table_row([str(size), str(start), str(len(cell)), rule, *shown]))
    return [*lines, ""]


def _advice(aucs: pd.DataFrame) -> list[str]:
    """Say by number of patients which model leads, and whether the seeds tell it apart from late fusion."""
    lines = ["## Which head for how many patients", ""]
    lines += ["The leader is chosen and judged on the same seeds, which flatters it.", ""]
    lines += table_head(["patients", "start", "leads", "AUC", f"over {LATE}", "told apart by the seeds"])
    for (start, size), cell in aucs.groupby(["start", "patients"]):
        leader = str(cell[[LATE, *RIVALS]].mean().idxmax())
        gain = (cell[leader] - cell[LATE]).to_numpy()
        apart = "too few" if len(cell) < LEAST_SEEDS else "yes" if interval(gain)[1] > 0 else "no"
        shown = [leader, f"{cell[leader].mean():.3f}", *(["", ""] if leader == LATE else [written(gain), apart])]
        lines.append(table_row([str(size), str(start), *shown]))
    return lines
