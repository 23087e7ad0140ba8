"""Page and heat map of `missing.py`."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from missing_answers import DAMAGES
from missing_cells import Exam
from missing_masks import LINK, Pattern

from fusion_ln.bench.page import table_head, table_row
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.heads import LATE_HEADS
from fusion_ln.report.kit.style import figure_style, png_of
from fusion_ln.terms import subsets

LATE, HEADS = "late-logit", ("concat 0.2", "cross-attention 0.2")  # of the heat map and of the comparisons
KINDS = {
    "random": "any picture, by chance",
    "linked": f"any picture, by class (link {LINK:g})",
    "2d": "grey scale",
    "cdfi": "Doppler",
    "elastic": "elastography",
}


def draw(table: pd.DataFrame, broken: tuple[int, ...]) -> bytes:
    """Draw attained over attainable AUC: a row of heat maps per kind of missing, a column per head."""
    kinds = [kind for kind in KINDS if set(table.loc[table["kind"] == kind, "trained"]) - {0}]
    shares, columns = [0, *broken], (LATE, *HEADS)
    with figure_style():
        figure = Figure(figsize=(2.6 * len(columns), 2.5 * len(kinds) + 0.5), layout="constrained")
        axes = figure.subplots(len(kinds), len(columns), squeeze=False, sharex=True, sharey=True)
        for (row, column), axis in np.ndenumerate(axes):
            kind, head = kinds[row], columns[column]
            cells = table[(table["kind"] == kind) & (table["head"] == head)]
            grid = cells.pivot_table(index="trained", columns="tested", values="attained")
            values = grid.reindex(index=shares, columns=shares).to_numpy()
            drawn = axis.imshow(values, vmin=0.86, vmax=1, cmap="viridis", origin="lower")
            for (y, x), value in np.ndenumerate(values):
                if np.isfinite(value):
                    ink = "w" if value < 0.95 else "k"
                    axis.text(x, y, f"{value:.3f}", ha="center", va="center", color=ink, size=8)
            axis.set_xticks(range(len(shares)), [f"{share} %" for share in shares])
            axis.set_yticks(range(len(shares)), [f"{share} %" for share in shares])
            axis.set_title(f"{head}\n{KINDS[kind]}", size=8)
        figure.supxlabel("Triplets broken at test", size=9)
        figure.supylabel("Triplets broken in training", size=9)
        figure.colorbar(drawn, ax=axes, shrink=0.5, label="AUC, attained over attainable")
        figure.draw_without_rendering()  # lays the parts out
        return png_of(figure, "Attained over attainable AUC where pictures are missing in training and at test")


def render(
    table: pd.DataFrame,
    answers: Mapping[tuple[Pattern, int], Mapping[str, np.ndarray]],
    damaged: Mapping[int, Mapping[str, np.ndarray]],
    fresh: Cohort,
    broken: tuple[int, ...],
    origin: str,
) -> str:
    """Write the page."""
    seeds = sorted({seed for _, seed in answers})
    lines = [
        "# Pictures missing in training and at test",
        "",
        origin,
        "",
        f"240 **simulated** patients a seed ({len(seeds)} seed(s): {', '.join(map(str, seeds))}), networks pre-trained "
        "on the simulated organ tasks and fine-tuned on labels as they are, which the first run has smoothed since; "
        "five folds. A triplet is broken if it lacks a picture. Where it lacks *any*, "
        "each picture is missing with the same chance (0.09, 0.21, 0.37 for 25, 50, 75 %); *by class*: with "
        f"{1 + LINK:g} times the chance in benign nodes, {1 - LINK:g} times in metastases. Every fold's models answer "
        f"{len(fresh.patients)} fresh patients from every subset of the modalities; a cell weighs these answers by the "
        "chance of each subset. AUC is macro, one against the rest, of all these patients together, mean over folds "
        "and seeds. The ceiling is the exact posterior on the same patients; where missing goes with the class it "
        "knows which pictures there are.",
        "",
        "![Heat map](missing.png)",
        "",
        "All cells and heads: `missing.csv`. Not trained: " + (", ".join(open_cells(answers, broken)) or "none") + ".",
        *gains(answers, fresh, broken),
        *remedies(table),
        *tested_alone(table, broken),
        *(_damages(damaged, answers, fresh) if damaged else ()),
    ]
    return "\n".join([*lines, ""])


def open_cells(answers: Mapping[tuple[Pattern, int], Mapping[str, np.ndarray]], broken: tuple[int, ...]) -> list[str]:
    """List the patterns in training that no seed has answers of."""
    done = {pattern for pattern, _ in answers}
    patterns = [Pattern(kind, share) for kind in KINDS for share in broken]
    return [f"{KINDS[each.kind]} {each.broken} %" for each in patterns if each not in done]


def gains(
    answers: Mapping[tuple[Pattern, int], Mapping[str, np.ndarray]], fresh: Cohort, broken: tuple[int, ...]
) -> list[str]:
    """Compare trained heads with late fusions where as much is broken at test as in training."""
    columns = [
        "missing",
        "broken",
        "seeds",
        "ceiling",
        "late-logit",
        "best other late",
        "head",
        "AUC",
        "of the ceiling",
    ]
    lines = ["", "## As much broken at test as in training", ""]
    lines += [
        "Differences with 95 % intervals for other patients at test, the trained models given; *by seed*: how they "
        "differ for other patients and networks in training.",
        "",
    ]
    lines += table_head([*columns, "to late-logit", "by seed", "to the best late", "by seed"])
    patterns = [Pattern("random", 0), *(Pattern(kind, share) for kind in KINDS for share in broken)]
    for pattern in patterns:
        if held := [each for (trained, _), each in answers.items() if trained == pattern]:
            lines += _compare(pattern, held, Exam(fresh, pattern))
    return lines


def _compare(pattern: Pattern, held: list[Mapping[str, np.ndarray]], exam: Exam) -> list[str]:
    names = [name for name in held[0] if name in LATE_HEADS or name in HEADS]
    mean = {name: float(np.mean([exam.score_folds(each[name]).mean() for each in held])) for name in names}
    best = max((name for name in names if name in LATE_HEADS), key=mean.__getitem__)
    missing = KINDS[pattern.kind] if pattern.broken else "nothing"
    start = [missing, f"{pattern.broken} %", str(len(held)), f"{exam.ceiling:.3f}", f"{mean[LATE]:.3f}"]
    rows = []
    for head in HEADS:
        own = [head, f"{mean[head]:.3f}", f"{mean[head] / exam.ceiling:.3f}"]
        for other in (LATE, best):
            gain, low, high = exam.compare([each[head] for each in held], [each[other] for each in held])
            by_seed = [float((exam.score_folds(each[head]) - exam.score_folds(each[other])).mean()) for each in held]
            own += [f"{gain:+.3f} ({low:+.3f} to {high:+.3f})", " ".join(f"{each:+.3f}" for each in by_seed)]
        rows.append(table_row([*start, f"{best} {mean[best]:.3f}", *own]))
    return rows


def remedies(table: pd.DataFrame) -> list[str]:
    """Tabulate every head where as much is broken at test as in training, of the kinds that have all of them."""
    same = table[(table["trained"] == table["tested"]) & table["kind"].isin(["random", "linked"])]
    same = same[(same["kind"] == "random") | (same["trained"] > 0)]  # complete triplets are the same of any kind
    heads, most = list(dict.fromkeys(table["head"])), table["seeds"].max()
    columns = [key for key, cells in same.groupby(["kind", "trained"], sort=False) if len(cells) == len(heads)]
    lines = ["", "## Late fusions and modality dropout", "",
             "AUC where as much is broken at test as in training. After the head's name its modality dropout: "
             "constant, or rising from 0 to 0.4 over the first half of the training; *auxiliary*: each modality must "
             "also do alone (weight 0.5). In brackets the number of seeds where it is not the page's: means of other "
             "seeds are of other patients, too.", "",
             *table_head(["head", *(f"{kind}, {share} %" for kind, share in columns)])]  # fmt: skip
    for head in heads:
        cells = same[same["head"] == head].set_index(["kind", "trained"])
        notes = {column: f" ({n})" if n < most else "" for column, n in cells["seeds"].items()}
        lines.append(table_row([head, *(f"{cells['auc'][column]:.4f}{notes[column]}" for column in columns)]))
    return lines


def tested_alone(table: pd.DataFrame, broken: tuple[int, ...]) -> list[str]:
    """Tabulate the heads of complete triplets where pictures are missing at test alone."""
    lines = ["", "## Complete in training, broken at test", "", "AUC, in brackets of the ceiling.", ""]
    lines += table_head(["missing at test", "broken", "ceiling", LATE, *HEADS])
    for kind, title in KINDS.items():
        for share in broken:
            cells = table[(table["kind"] == kind) & (table["trained"] == 0) & (table["tested"] == share)]
            cells = cells.set_index("head")
            shown = [f"{cells['auc'][head]:.3f} ({cells['attained'][head]:.3f})" for head in (LATE, *HEADS)]
            lines.append(table_row([title, f"{share} %", f"{cells['ceiling'].iloc[0]:.3f}", *shown]))
    return lines


def _damages(
    damaged: Mapping[int, Mapping[str, np.ndarray]],
    answers: Mapping[tuple[Pattern, int], Mapping[str, np.ndarray]],
    fresh: Cohort,
) -> list[str]:
    """Tabulate the heads of complete triplets where one picture of every patient is damaged, or taken away."""
    whole, names = Exam(fresh, Pattern("random", 0)), list(subsets(fresh.modalities))
    n, n_damages = len(names), len(DAMAGES)

    def auc(head: str, seed: int, modality: int, damage: int | None) -> float:
        if damage is not None:
            logits = damaged[seed][head][:, modality * n_damages + damage]
        else:
            rest = "+".join(name for name in fresh.modalities if name != fresh.modalities[modality])
            logits = answers[Pattern("random", 0), seed][head][:, names.index(rest)]
        return float(whole.score_folds(np.repeat(logits[:, None], n, axis=1)).mean())

    lines = ["", "## One picture of every patient damaged at test", ""]
    lines += ["Trained on complete triplets. Where a damaged picture does worse than none, it is better left out.", ""]
    lines += table_head(["modality", "damage", LATE, *HEADS])
    titled = [*((name, number) for number, name in enumerate(DAMAGES)), ("taken away", None)]
    for modality, name in enumerate(fresh.modalities):
        for title, damage in titled:
            aucs = [np.mean([auc(head, seed, modality, damage) for seed in damaged]) for head in (LATE, *HEADS)]
            lines.append(table_row([KINDS[name], title, *(f"{each:.3f}" for each in aucs)]))
    return lines
