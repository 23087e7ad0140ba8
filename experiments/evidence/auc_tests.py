"""Which test of two AUCs keeps its level where nearly all patients are recognised?

Question  How often do DeLong's test and the printed one, which swaps two models' answers within patients, reject at
          0.05 where nothing differs, and what do ranks in place of logits cost?
Command   python experiments/evidence/auc_tests.py [--replicates 2000] [--workers 2]
Time      about 30 minutes of one core with 2,000 replicates
Expect    the printed test of the mean AUC from 0.04 to 0.06, DeLong's far below from recalls of 0.9 on; of a single
          class of which hardly anyone is misplaced the orders are too few for 0.04

Models see patients through logits = skill x true class + noise; half of the noise's variance is the patient's. "other
scale": the logits of one model's answers are doubled and moved by 1. "apart by class": each model is weak in one of two
equally large classes, the means are alike.
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit, ndtr, softmax
from scipy.stats import rankdata, zscore
from simulation import run_jobs

from fusion_ln.bench.page import describe_origin
from fusion_ln.evaluation.delong import p_of_means
from fusion_ln.evaluation.swaps import p_of_swaps
from fusion_ln.files.formats import write_text

SIZES, LARGE = (60, 100, 150, 300), (1000, 2000)  # of the large ones DeLong's test alone
RECALLS = {"0.33": (1 / 3, 1 / 3), "0.65": (0.6, 0.7), "0.79": (0.74, 0.84), "0.9": (0.85, 0.95), "0.945": (0.90, 0.99)}
SKILLS = np.arange(0, 6, 0.05)
SWAPS = 199
PRINTED, DELONG, RANKS = "printed", "DeLong", "swapped by ranks"
TABLE = Path(__file__).parents[1] / "benchmarks" / "auc_tests.csv"
TOP = """# Tests of two AUCs where nearly everyone is recognised

How often equal AUCs were told apart at 0.05, by the models' recall (columns; each replicate draws its own from a range
of 0.1). "printed" is the test of the pages: the two models' answers swapped within patients, DeLong's z of each draw
as the statistic, logits standardised by model as the common scale, equal draws counted half. Pages draw 10,000 swaps,
these figures 199, at the same level. "swapped by ranks" has ranks as the common scale. Classes of 28, 21 and 51 % and
models that share half of the noise, unless the row says otherwise: "uncorrelated" ones share none, of "other scale" one
model's logits are doubled and moved by 1, "apart by class" are weak in one of two equal classes each, alike in the mean
alone.
"""
END = """
The two outside 0.04 to 0.06, with more replicates: 0.055 (apart by class, 8,000) and 0.044 (recall 0.33, 4,000).

DeLong's z rests on few patients where nearly everyone is recognised, and passes 1.96 more rarely than a normal one.
From 1,000 patients on it keeps its level at every recall: beyond, pages print its p. Ranks as the common scale lose
near an AUC of 1: between two models that place nearly everyone right there is a gap in logits and none in ranks, so a
swap puts patients out of order whom neither model misplaces. Studentised (Chung & Romano 2013, Ann. Statist. 41, 484;
Pauly, Asendorf & Konietschke 2016, Biom. J. 58, 1319) swaps keep the level where models are alike in the mean alone,
too. What is left: of 60 patients at a recall of 0.945 single classes lie below 0.04, as too few of them are misplaced
for a p below 0.05.
"""
Job = tuple[str, int, str, int]


@dataclass(frozen=True)
class Kind:
    """Two models with one mean AUC: shares of the classes, shared part of the noise, and how the two differ."""

    shares: tuple[float, ...] = (0.28, 0.21, 0.51)
    shared: float = 0.5
    scaled: bool = False
    tilt: float = 0.0


PLAIN = "three classes"  # compared with DeLong's test and with swaps of ranks, too
KINDS = {
    PLAIN: Kind(),
    "uncorrelated": Kind(shared=0.0),
    "two classes": Kind((0.4, 0.6)),
    "60, 25 and 15 %": Kind((0.6, 0.25, 0.15)),
    "other scale": Kind(scaled=True),
    "apart by class": Kind((0.35, 0.35, 0.3), tilt=0.3),
}


def recall_of(skill: np.ndarray, n_classes: int) -> np.ndarray:
    """Compute the recall at each skill: the true class has the largest of ``n_classes`` normal logits."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    return np.asarray(ndtr(nodes + skill[:, None]) ** (n_classes - 1) @ weights / weights.sum())


def draw(kind: Kind, labels: np.ndarray, skill: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the probabilities (P, C) of two models."""
    size = (len(labels), len(kind.shares))
    shared, found = np.sqrt(kind.shared) * rng.normal(size=size), []
    for sign in (1, -1):
        skills = np.full(size[1], skill)
        skills[:2] *= 1 + sign * kind.tilt * np.array([1, -1])
        own = np.sqrt(1 - kind.shared) * rng.normal(size=size)
        found.append(softmax(np.diag(skills)[labels] + shared + own, axis=1))
    return found[0], expit(2 * logit(found[1]) + 1) if kind.scaled else found[1]


def replicate(job: Job) -> list[dict[str, object]]:
    """Share of replicates in which each test rejects, of the mean AUC and of single classes."""
    name, n, recall, replicates = job
    kind = KINDS[name]
    labels = np.repeat(np.arange(len(kind.shares)), np.round(np.array(kind.shares) * n).astype(int))
    seed = [list(KINDS).index(name), n, list(RECALLS).index(recall)]
    rng, reached = np.random.default_rng(seed), recall_of(SKILLS, len(kind.shares))
    p_values: dict[str, list[np.ndarray]] = {}
    for number in range(replicates):
        skill = float(np.interp(rng.uniform(*RECALLS[recall]), reached, SKILLS)) if recall != "0.33" else 0.0
        pair = np.stack(draw(kind, labels, skill, rng))[:, None]
        if name == PLAIN:
            p_values.setdefault(DELONG, []).append(p_of_means(labels, pair[0], pair[1]))
        if n in SIZES:
            p_values.setdefault(PRINTED, []).append(p_of_swaps(labels, *pair, n_swaps=SWAPS, seed=[*seed, number]))
        if n in SIZES and name == PLAIN:
            ranks = expit(zscore(rankdata(pair, axis=2), axis=2))
            p_values.setdefault(RANKS, []).append(p_of_swaps(labels, *ranks, n_swaps=SWAPS, seed=[*seed, number]))
    rows = []
    for test, found in p_values.items():
        rates = (np.array(found) <= 0.05).mean(axis=0)
        rows += [
            {"models": name, "patients": n, "recall": recall, "test": test, "of": of, "rate": rate}
            for of, rate in zip([*map(str, range(len(rates) - 1)), "mean"], rates, strict=True)
            if of == "mean" or not kind.tilt
        ]
    return rows


def main() -> None:
    """Simulate, or read the kept table, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--page", action="store_true", help="write the page of the kept table alone")
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    if not options.page:
        started = time.monotonic()
        jobs: list[Job] = [(k, n, r, options.replicates) for r in reversed(RECALLS) for n in SIZES for k in KINDS]
        jobs += [(PLAIN, n, r, options.replicates) for r in RECALLS for n in LARGE]
        found = run_jobs(replicate, jobs, options.workers, "Models, sizes and recalls")
        table = pd.DataFrame([row for rows in found for row in rows])
        made = f"# {describe_origin('numpy', 'scipy')} {time.monotonic() - started:.0f} s.\n"
        counts = f"# {options.replicates} replicates, {SWAPS} swaps each.\n"
        write_text(options.out, made + counts + table.to_csv(index=False))
    write_text(options.out.with_suffix(".md"), write_page(options.out))


def write_page(path: Path) -> str:
    """Write the page of a table."""
    made = [line[2:] for line in path.read_text().splitlines() if line.startswith("# ")]
    table = pd.read_csv(path, comment="#", dtype={"recall": str, "of": str})
    columns = " | ".join(RECALLS)
    lines = [TOP, *(f"- {line}" for line in made)]
    for title, whole in (("The mean AUC", True), ("Single classes: the least and the largest rate", False)):
        lines += [f"\n## {title}\n", f"| models | patients | test | {columns} |", "| --- " * (3 + len(RECALLS)) + "|"]
        own = table[(table["of"] == "mean") == whole]
        for (models, n, test), rows in own.groupby(["models", "patients", "test"], sort=False):
            cells = [_range(rows.loc[rows["recall"] == recall, "rate"]) for recall in RECALLS]
            lines.append(f"| {models} | {n} | {test} | {' | '.join(cells)} |")
    rates = table.loc[(table["test"] == PRINTED) & (table["of"] == "mean"), "rate"]
    lines.append(
        f"\nThe printed test of the mean AUC rejected in {_range(rates)} of replicates (standard error 0.005)."
    )
    return "\n".join(lines) + "\n" + END


def _range(rates: pd.Series) -> str:
    ends = dict.fromkeys(f"{end:.3f}" for end in (rates.min(), rates.max()))
    return " to ".join(ends)


if __name__ == "__main__":
    main()
