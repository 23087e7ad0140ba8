"""Which test of two AUCs keeps its level where nearly all patients are recognised?

Question  How often do DeLong's test, the permutation test of the page and a studentised one reject at 0.05, of two
          models that are alike, and how often could a test by swaps reject at most?
Command   python experiments/evidence/auc_tests.py
Time      about 5 minutes on 2 cores
Expect    from recalls of 0.9 on DeLong's far below 0.05, the studentised test nearest to it, none of them at 0.05

The models and their recalls are those of evidence_calibration.py. A swap exchanges the two models' ranks of a patient.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from evidence_models import CLASSES, labels_of, simulate, skills_for
from scipy.special import softmax
from scipy.stats import rankdata
from simulation import run_jobs

from fusion_ln.bench.page import describe_origin
from fusion_ln.evaluation.delong import z_test
from fusion_ln.evaluation.limits.auc import covariance
from fusion_ln.files.formats import write_text

SIZES, RECALLS = (60, 100, 150), {"0.79": (0.74, 0.84), "0.9": (0.85, 0.95), "0.945": (0.90, 0.99)}
SWAPS = 999
TESTS = ("DeLong", "permutation", "studentised", "attainable")
TABLE = Path(__file__).parents[1] / "benchmarks" / "auc_tests.md"
Job = tuple[int, str, int]
END = """
Few patients set the limit only at 60 patients and a recall of 0.945, where a sixth of the samples have too few orders
for any p up to 0.05. Elsewhere DeLong's z, which rests on few patients, passes 1.96 more rarely than a normal one, and
swaps of ranks lose because ranks are each model's own and move with the swaps. Studentised by DeLong's variance of each
swap (Chung & Romano 2013, Ann. Statist. 41, 484; Pauly, Asendorf & Konietschke 2016, Biom. J. 58, 1319) they lose
least. Pages print DeLong's p, which is too large here, and the one of swapped ranks beside it.
"""


def swapped(positive: np.ndarray, a: np.ndarray, b: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Difference in AUC (R,) and each patient's influence on it (R, P), after swaps: ``signs`` (R, P), -1 to swap."""
    before, after = (signs + 1) / 2, (1 - signs) / 2
    own, crossed = order(positive, a, a) - order(positive, b, b), order(positive, a, b) - order(positive, b, a)
    kept, other = before[:, ~positive], after[:, ~positive]
    above = (
        np.where(signs[:, positive] > 0, kept @ own.T + other @ crossed.T, -(kept @ crossed.T + other @ own.T))
        / (~positive).sum()
    )
    kept, other = before[:, positive], after[:, positive]
    below = np.where(signs[:, ~positive] > 0, kept @ own - other @ crossed, kept @ crossed - other @ own)
    below /= positive.sum()
    difference = above.mean(axis=1)
    influence = np.empty(signs.shape)
    influence[:, positive] = (above - difference[:, None]) / positive.sum()
    influence[:, ~positive] = (below - difference[:, None]) / (~positive).sum()
    return difference, influence


def order(positive: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 where a patient of the class (rows) ranks above another patient (columns), 0.5 where alike."""
    gap = x[positive][:, None] - y[~positive][None]
    return np.asarray((gap > 0) + 0.5 * (gap == 0))


def p_values(labels: np.ndarray, a: np.ndarray, b: np.ndarray, signs: np.ndarray) -> dict[str, float]:
    """P-values of the difference in macro AUC of probabilities (P, C), and the largest level up to 0.05 of swaps."""
    ranks = [rankdata(each, axis=0) for each in (a, b)]
    parts = [swapped(labels == c, ranks[0][:, c], ranks[1][:, c], signs) for c in range(a.shape[1])]
    gaps, influence = (np.mean([part[k] for part in parts], axis=0) for k in (0, 1))
    z, p = z_test(gaps, covariance(influence, influence, labels))
    sizes = np.abs(gaps).round(10)
    rarest = np.array([(sizes >= size).mean() for size in np.unique(sizes)])
    return {
        "DeLong": float(p[0]),
        "permutation": float((sizes >= sizes[0]).mean()),
        "studentised": float((np.abs(z) >= abs(z[0]) - 1e-9).mean()),
        "attainable": float(rarest[rarest <= 0.05].max(initial=0)),
    }


def replicate(job: Job) -> dict[str, object]:
    """Share of replicates in which each test rejects, for one size and recall; of the levels the mean."""
    n, recall, replicates = job
    rng, labels = np.random.default_rng([n, int(1000 * float(recall))]), labels_of(n)
    share = rng.random(replicates)
    found = []
    for at in share:
        pair = softmax(simulate(labels, skills_for((RECALLS[recall],) * 2, np.array([at])), rng)[:, 0], axis=-1)
        signs = np.concatenate([np.ones((1, n)), rng.choice([-1.0, 1.0], (SWAPS, n))])
        found.append(p_values(labels, pair[0], pair[1], signs))
    table = pd.DataFrame(found)
    rates = {name: (table[name] <= 0.05).mean() for name in TESTS[:3]}
    return {"patients": n, "recall": recall} | rates | {"attainable": table["attainable"].mean()}


def main() -> None:
    """Simulate and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    started = time.monotonic()
    jobs: list[Job] = [(n, recall, options.replicates) for n in SIZES for recall in RECALLS]
    rows = pd.DataFrame(run_jobs(replicate, jobs, options.workers, "Sizes and recalls"))
    write_text(options.out, write_page(rows, options.replicates, time.monotonic() - started))


def write_page(rows: pd.DataFrame, replicates: int, seconds: float) -> str:
    """Write the page of the rates."""
    error = np.sqrt(0.05 * 0.95 / replicates)
    lines = [
        "# Tests of two AUCs where nearly everyone is recognised\n",
        f"{describe_origin('numpy', 'scipy')} {seconds:.0f} s.\n",
        f"Two models alike, {len(CLASSES)} classes, {replicates:,} replicates a row (standard error at 0.05: "
        f"{error:.4f}), {SWAPS} swaps: rejections of equal macro AUCs at 0.05. Attainable: the mean "
        "of the largest level up to 0.05 that the swaps of a sample have, fewer patients apart having fewer orders.\n",
        "| patients | recall | DeLong | permutation of ranks | studentised permutation | attainable |",
        "| --- " * 6 + "|",
        *(
            f"| {n} | {recall} | {' | '.join(f'{rate:.3f}' for rate in rates)} |"
            for n, recall, *rates in rows.itertuples(index=False)
        ),
    ]
    return "\n".join(lines) + "\n" + END


if __name__ == "__main__":
    main()
