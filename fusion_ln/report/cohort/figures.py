"""Figures beside Table 1: shares of categories, spread of numbers, correlation (as Jiang et al. 2025, Fig. 2)."""

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fusion_ln.report.kit.figures import NARROW, WIDE, Plate, mark_plate
from fusion_ln.report.kit.sheets import heading_of
from fusion_ln.report.kit.style import CARD, INK, LIGHT, LINE, MUTED, number

SHARE_WITH_ROOM = 0.09  # a smaller segment has no room for its figure


def draw_shares(variable: str, values: dict[str, pd.Series], *, simulated: bool) -> Plate:
    """Draw stacked shares of a variable's categories, one bar per class; missing values are left out."""
    counts = pd.DataFrame({name: group.value_counts() for name, group in values.items()}).fillna(0).sort_index()
    shares = counts / counts.sum().clip(lower=1)
    figure = Figure(figsize=(WIDE, 0.75 + 0.36 * len(values)), layout="constrained")
    axes = figure.add_subplot()
    left, shown = np.zeros(len(values)), []
    for place, (level, row) in enumerate(shares.iterrows()):
        depth = 0.1 + 0.42 * place / max(len(shares) - 1, 1)  # shades of one hue: categories may be ordered
        face = to_rgba(LIGHT["fusion"], depth)
        bars = axes.barh(range(len(values)), row, left=left, height=0.74, facecolor=face, edgecolor=CARD, lw=1)
        shown.append((bars, _short(level)))  # named here, since Matplotlib hides labels that begin with an underscore
        for y, share in enumerate(row):
            if share >= SHARE_WITH_ROOM:
                axes.text(left[y] + share / 2, y, f"{share:.0%}", ha="center", va="center", fontsize=7.5)
        left += row.to_numpy()
    axes.set(xlim=(0, 1), ylim=(len(values) - 0.5, -0.5), xticks=[])
    axes.set_yticks(range(len(values)), list(values))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.legend(
        *zip(*shown, strict=True), loc="outside upper left", ncols=min(len(shown), 4), handlelength=1, columnspacing=1.2
    )
    return mark_plate(f"shares_{variable}", heading_of(variable), "", figure, simulated)


def draw_boxes(variable: str, values: dict[str, pd.Series], *, simulated: bool) -> Plate:
    """Draw a number's median, quartiles and range by class; dots beyond 1.5 times the interquartile range."""
    figure = Figure(figsize=(WIDE, 0.75 + 0.36 * len(values)), layout="constrained")
    axes = figure.add_subplot()
    lines = {"color": MUTED, "lw": 1}
    axes.boxplot(
        [group.dropna().to_numpy(dtype=float) for group in values.values()],
        orientation="horizontal",
        widths=0.55,
        patch_artist=True,
        boxprops={"facecolor": to_rgba(LIGHT["fusion"], 0.25), "edgecolor": MUTED},
        medianprops={"color": INK, "lw": 1.8},
        whiskerprops=lines,
        capprops=lines,
        flierprops={"marker": "o", "ms": 2.5, "mfc": MUTED, "mec": "none", "alpha": 0.6},
    )
    axes.set_yticks(range(1, len(values) + 1), list(values))
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.spines[["left", "bottom"]].set_visible(False)
    return mark_plate(f"boxes_{variable}", heading_of(variable), "", figure, simulated)


def draw_correlation(table: pd.DataFrame, *, simulated: bool) -> Plate:
    """Draw Spearman's rank correlation of numbers and scores, each pair on the patients who have both."""
    names = [heading_of(str(name)) for name in table]
    matrix = table.corr(method="spearman").to_numpy()
    side = max(NARROW, 0.52 * len(names) + 1.1)
    figure = Figure(figsize=(side, side - 0.2), layout="constrained")
    axes = figure.add_subplot()
    for (row, column), value in np.ndenumerate(matrix):
        if column < row and np.isfinite(value):
            hue = LIGHT["cdfi"] if value > 0 else LIGHT["fusion"]
            face = to_rgba(hue, 0.05 + 0.55 * abs(value))
            axes.add_patch(Rectangle((column + 0.03, row + 0.03), 0.94, 0.94, facecolor=face, lw=0))
            axes.text(column + 0.5, row + 0.5, number(value, 2), ha="center", va="center", fontsize=7.5)
    axes.set(xlim=(0, len(names) - 1), ylim=(len(names), 1), aspect="equal")
    axes.set_xticks(np.arange(len(names) - 1) + 0.5, names[:-1], rotation=40, ha="right")
    axes.set_yticks(np.arange(1, len(names)) + 0.5, names[1:])
    axes.tick_params(length=0, labelcolor=INK, labelsize=7.5, color=LINE)
    axes.spines[:].set_visible(False)
    caption = "Spearman’s rank correlation; orange rises together, blue goes against each other."
    return mark_plate("correlation", "Correlation", caption, figure, simulated)


def _short(level: object) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)
