"""Coverage of the intervals on the readers' page: kappas, and paired differences between a model and a reader.

Question  How often does each 95 % interval hold the true figure, and from how many patients on may it be printed?
Command   python experiments/evidence/readers_intervals.py [--replicates 4000] [--workers 16]
Time      about 4 minutes on one core with 1,000 replicates
Expect    coverage of 0.93 or more wherever the page prints an interval; printed says how often it does

Calls: the patient's class by a rater's own confusion matrix, independently of the other raters' given the class.
Scores: two normal classes, model and reader correlated within them; a reader's suspicion is cut to five steps. Shares
are averaged over true shares within 0.05.
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri
from simulation import run_jobs

from fusion_ln.bench.page import describe_origin
from fusion_ln.evaluation.readers.agreement import cohen_kappa, fleiss_kappa
from fusion_ln.evaluation.readers.cases import Cases
from fusion_ln.evaluation.readers.points import compare_with_reader
from fusion_ln.files.formats import write_text

SIZES = (10, 20, 50, 100, 150, 580)
PREVALENCES = {"3 even": (1 / 3, 1 / 3, 1 / 3), "3 skew": (0.7, 0.2, 0.1), "2 skew": (0.85, 0.15)}
SKILLS = (0.6, 0.8, 0.93)  # chance of a rater to name the true class
SHARES = ((0.6, 0.6), (0.9, 0.8), (0.93, 0.93))  # of model and reader
AUCS = ((0.8, 0.75), (0.92, 0.92), (0.96, 0.9))
CUTS = np.array([-0.2, 0.5, 1.0, 1.8])  # of a reader's suspicion
CORRELATION = 0.5
LOWEST = 0.93
Setting = tuple[str | float, float]  # name of the classes' shares, and skill; or the figures of model and reader
Limits = tuple[float, float, float]  # low, high, and the truth
TABLE = Path(__file__).parents[1] / "benchmarks" / "readers_intervals.csv"


def kappas(kind: str, setting: Setting, n: int, replicates: int, rng: np.random.Generator) -> list[Limits]:
    """Limits of kappas with their truth: of two raters, or of five."""
    prevalence, skill = np.array(PREVALENCES[str(setting[0])]), setting[1]
    n_classes, raters = len(prevalence), 2 if kind == "Cohen's kappa" else 5
    skills = np.linspace(skill - 0.05, skill + 0.05, raters)
    matrices = [np.full((n_classes, n_classes), (1 - s) / (n_classes - 1)) for s in skills]
    for matrix, s in zip(matrices, skills, strict=True):
        np.fill_diagonal(matrix, s)
    agree = np.mean([prevalence @ (a * b).sum(axis=1) for i, a in enumerate(matrices) for b in matrices[:i]])
    marginals = np.array([prevalence @ matrix for matrix in matrices])
    chance = marginals[0] @ marginals[1] if raters == 2 else np.square(marginals.mean(axis=0)).sum()
    truth, found = (agree - chance) / (1 - chance), []
    for _ in range(replicates):
        labels = rng.choice(n_classes, n, p=prevalence)
        calls = np.stack([(m.cumsum(axis=1)[labels] < rng.random((n, 1))).sum(axis=1) for m in matrices], axis=1)
        score = cohen_kappa(calls[:, 0], calls[:, 1], n_classes) if raters == 2 else fleiss_kappa(calls, n_classes)
        found.append((*score[1:], truth))
    return found


def differences(kind: str, setting: Setting, n: int, replicates: int, rng: np.random.Generator) -> list[Limits]:
    """Limits of the difference of two paired shares, or AUCs, with their truth."""
    found = []
    for _ in range(replicates):
        noise = rng.multivariate_normal([0, 0], [[1, CORRELATION], [CORRELATION, 1]], n).T
        if kind == "share":
            shares = np.clip(np.array(setting) + rng.uniform(-0.05, 0.05, 2), 0, 0.985)
            cases = Cases("accuracy", "all", np.ones(n, dtype=bool), (noise < ndtri(shares)[:, None]).astype(float))
            truth = shares[0] - shares[1]
        else:
            positive = np.arange(n) < round(n / 3)
            held = noise + positive * np.sqrt(2) * ndtri(np.array(setting))[:, None]
            held[1], truth = np.digitize(held[1], CUTS), float(setting[0]) - cut_auc(setting[1])
            cases = Cases("auc", "a", positive, held)
        row = compare_with_reader(cases)
        found.append((row[5], row[6], truth))
    return found


def cut_auc(auc: float) -> float:
    """AUC of a score whose AUC was ``auc`` before it was cut to five steps."""
    edges = np.concatenate([[-np.inf], CUTS, [np.inf]])
    others, positive = np.diff(ndtr(edges)), np.diff(ndtr(edges - np.sqrt(2) * ndtri(auc)))
    return float(positive @ (others.cumsum() - others / 2))


def cover(job: tuple[str, Setting, int, int, int]) -> tuple[str, str, int, float, float, float]:
    """Row of the table."""
    kind, setting, n, replicates, seed = job
    draw = kappas if "kappa" in kind else differences
    limits = pd.DataFrame(draw(kind, setting, n, replicates, np.random.default_rng([2, seed])))
    printed = limits.dropna()
    held = ((printed[0] <= printed[2]) & (printed[2] <= printed[1])).mean()
    return kind, " ".join(map(str, setting)), n, len(printed) / len(limits), held, (printed[1] - printed[0]).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args()
    configurations: list[tuple[str, Setting, int]] = [
        *product(("Cohen's kappa", "Fleiss' kappa"), product(PREVALENCES, SKILLS), SIZES),
        *product(("share",), SHARES, SIZES),
        *product(("AUC",), AUCS, (30, *SIZES[2:])),
    ]
    jobs = [(*each, options.replicates, seed) for seed, each in enumerate(configurations)]
    rows = run_jobs(cover, jobs, options.workers, "Intervals")
    table = pd.DataFrame(rows, columns=["interval", "setting", "patients", "printed", "coverage", "width"]).round(4)
    write_text(TABLE, table.to_csv(index=False))
    often = table[table["printed"] >= 0.05]
    lines = [
        "# Coverage of the readers' intervals\n",
        describe_origin("numpy", "scipy", "pandas"),
        f"{options.replicates:,} replicates a row; `readers_intervals.csv` holds the rows. Rows",
        "in which under 5 % of the samples get an interval are not counted here.\n",
        f"| interval | patients | printed | coverage: mean (lowest to highest) | rows below {LOWEST} |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (kind, n), of_kind in often.groupby(["interval", "patients"], sort=False):
        held = of_kind["coverage"]
        lines.append(
            f"| {kind} | {n} | {of_kind['printed'].mean():.2f} "
            f"| {held.mean():.3f} ({held.min():.3f} to {held.max():.3f}) | {(held < LOWEST).sum()} of {len(held)} |"
        )
    write_text(TABLE.with_suffix(".md"), "\n".join(lines) + "\n")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
