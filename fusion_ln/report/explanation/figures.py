"""Figures of an explanation: curves of the tests, contributions of the modalities, and mean maps by class."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusion_ln.report.kit.style import INK, LIGHT, LINE, MUTED, modality_colour
from fusion_ln.terms import LABEL, MODALITY, PATIENT, RANDOM_MAPS, short_title

METHOD_COLOURS = ("fusion", "elastic", "cdfi", "other-1", "other-3")  # apart also beside each other


def method_colour(position: int) -> str:
    """Choose the colour of a method, the same in every figure."""
    return LIGHT[METHOD_COLOURS[position % len(METHOD_COLOURS)]]


def draw_curve(curves: dict[str, np.ndarray], titles: dict[str, str], xlabel: str) -> Figure:
    """Draw the mean probability of the class over the patients, one line per method; random maps dashed.

    Args:
        curves: By method, one row per patient. Each of shape (N, steps + 1).
        titles: Titles of the methods, by name.
        xlabel: Label of the axis from 0 to 100 %.
    """
    figure = Figure(figsize=(4.1, 2.9), layout="constrained")
    axes = figure.add_subplot()
    for position, (name, rows) in enumerate(curves.items()):
        x = np.linspace(0, 100, rows.shape[1])
        known = name != RANDOM_MAPS
        colour = method_colour(position) if known else MUTED
        axes.plot(x, rows.mean(0), color=colour, lw=1.8 if known else 1.2, ls="-" if known else "--",
                  label=titles.get(name, "Random order"))  # fmt: skip
    axes.set(xlim=(0, 100), ylim=(0, 1), xlabel=xlabel, ylabel="Probability of the class")
    axes.grid(axis="y")
    axes.legend(loc="best")
    return figure


def draw_randomised(curves: dict[str, np.ndarray], titles: dict[str, str], shares: Sequence[float]) -> Figure:
    """Draw the rank correlation of the maps with those of a model with a share of its weights shuffled."""
    figure = Figure(figsize=(4.1, 2.9), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0, color=INK, lw=0.8)
    for position, (name, rows) in enumerate(curves.items()):
        x = [0, *(100 * share for share in shares)]
        axes.plot(x, [1, *rows.mean(0)], color=method_colour(position), lw=1.8, marker="o", ms=4, label=titles[name])
    axes.set(xlim=(0, 102), xlabel="Weights shuffled, from the last layer down [%]", ylabel="Rank correlation")
    axes.set_ylim(min(-0.2, axes.get_ylim()[0]), 1.03)
    axes.grid(axis="y")
    axes.legend(loc="best")
    return figure


def draw_bars(contributions: pd.DataFrame, classes: list[str], modalities: tuple[str, ...]) -> Figure:
    """Draw the mean absolute contribution of each modality to each class; a diamond is a phantom's exact one."""
    figure = Figure(figsize=(6.6, 0.75 + 0.36 * len(modalities)), layout="constrained")
    panels = figure.subplots(1, len(classes), sharex=True, sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, classes, strict=True):
        rows = contributions[contributions["class"] == name].groupby(MODALITY)
        for y, modality in enumerate(modalities):
            own = rows.get_group(modality)
            colour = LIGHT[modality_colour(modality, modalities)]
            axes.barh(y, own["contribution"].abs().mean(), height=0.62, color=colour, lw=0)
            if "exact" in own:
                axes.scatter(own["exact"].abs().mean(), y, marker="D", s=26, color="none", ec=INK, lw=1.1, zorder=3)
        axes.set_title(name, fontsize=8.5, loc="left")
        _rows(axes, modalities)
        axes.set_xlabel("mean change of probability")
    return figure


def draw_swarm(contributions: pd.DataFrame, classes: list[str], name: str, modalities: tuple[str, ...]) -> Figure:
    """Draw every patient's contributions to one class: those of the class in colour, the others grey."""
    figure = Figure(figsize=(4.1, 0.9 + 0.72 * len(modalities)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0, color=INK, lw=0.9, zorder=1)
    chosen = contributions[(contributions["class"] == name) & contributions["present"]]
    for y, modality in enumerate(modalities):
        own = chosen[chosen[MODALITY] == modality]
        offsets = swarm(own["contribution"].to_numpy())
        truly = (own[LABEL] == classes.index(name)).to_numpy()
        size = 13 if len(own) < 150 else 6
        for mask, colour, order in ((~truly, LINE, 2), (truly, LIGHT[modality_colour(modality, modalities)], 3)):
            axes.scatter(own["contribution"][mask], y + offsets[mask], s=size, color=colour, lw=0, zorder=order)
    _rows(axes, modalities)
    axes.grid(axis="x")
    axes.set_xlabel(f"Change of the probability of {name}")
    return figure


def swarm(values: np.ndarray, bins: int = 40, reach: float = 0.38) -> np.ndarray:
    """Compute offsets, up to ``reach``, that keep dots of nearly the same value apart. Shape as ``values``."""
    offsets = np.zeros(len(values))
    if not len(values):
        return offsets
    place = np.digitize(values, np.linspace(values.min(), values.max() + 1e-9, bins))
    most = max(int(np.bincount(place).max()), 8)
    for own in np.unique(place):
        rows = np.flatnonzero(place == own)
        turn = np.arange(len(rows))
        offsets[rows] = (turn + 1) // 2 * np.where(turn % 2, 1, -1) * 2 * reach / most
    return offsets


def draw_class_means(
    means: dict[str, dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]]], modalities: tuple[str, ...]
) -> Figure:
    """Draw the mean map by predicted class (rows) and modality (columns), over the mean picture.

    Args:
        means: By class and modality: mean picture in grey (S, S), mean map (S, S), and the mean mask of the node.
        modalities: Modalities of the columns.
    """
    figure = Figure(figsize=(1.65 * len(modalities) + 0.4, 1.6 * len(means) + 0.35), layout="constrained")
    panels = figure.subplots(len(means), len(modalities), squeeze=False)
    brightest = max((each[1].max() for row in means.values() for each in row.values()), default=0) or 1
    for line, (name, row) in zip(panels, means.items(), strict=True):
        for axes, modality in zip(line, modalities, strict=True):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if modality in row:
                grey, heat, node = row[modality]
                axes.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
                level = np.clip(heat / brightest, 0, 1)
                axes.imshow(
                    level, cmap="inferno", vmin=0, vmax=1, alpha=0.75 * np.sqrt(level), interpolation="bilinear"
                )
                if node is not None and node.max() > 0.5:
                    axes.contour(node, levels=[0.5], colors="white", linewidths=1)
        line[0].set_ylabel(name, fontsize=8)
    for axes, modality in zip(panels[0], modalities, strict=True):
        axes.set_title(short_title(modality), fontsize=8, fontweight="normal", color=MUTED, pad=3)
    return figure


def _rows(axes: Axes, modalities: tuple[str, ...]) -> None:
    axes.set_ylim(len(modalities) - 0.4, -0.6)
    axes.set_yticks(range(len(modalities)), [short_title(m) for m in modalities])
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)


def count_patients(table: pd.DataFrame) -> int:
    """Count the patients of a table."""
    return int(table[PATIENT].nunique())
