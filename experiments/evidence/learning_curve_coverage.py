"""Does the extrapolation's interval of a learning curve hold what more patients buy? Coverage by simulation.

Question  A curve over parts of a cohort is extrapolated to twice and four times its training patients. How often does
          the 95 % interval hold the AUC that the learner has there?
Command   python experiments/evidence/learning_curve_coverage.py [--replicates 300] [--workers 16]
Time      about 15 minutes on one core
Expect    coverage from 0.93; less for a learner whose curve is no power law

Each replicate is a new cohort of two classes; the learner is the nearest class mean over many weak features, trained on
nested parts of each fold. The truth is the mean AUC of the learner on as many training patients, over many cohorts.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr
from scipy.stats import rankdata
from simulation import run_jobs

from fusion_ln.bench.page import describe_origin
from fusion_ln.evaluation.limits.resampling import resample_counts
from fusion_ln.evaluation.planning.learning import FURTHER, LearningCurve
from fusion_ln.files.formats import write_text

FOLDS, FRACTIONS = 5, np.array([0.125, 0.25, 0.5, 1.0])
FEATURES, SHIFT = 60, 0.25  # standard deviations between the class means of each feature
SIZES = (240, 580)
DRAWS = 500
TABLE = Path(__file__).parents[1] / "benchmarks" / "learning_curve_coverage.csv"


def true_auc(per_class: int, rng: np.random.Generator, trainings: int = 4000) -> float:
    """AUC of the learner with some training patients per class, the mean over trainings; exact given a training."""
    shift = np.full(FEATURES, SHIFT)
    direction = shift + rng.normal(size=(trainings, FEATURES)) * np.sqrt(2 / per_class)
    return float(ndtr(direction @ shift / np.sqrt(2) / np.linalg.norm(direction, axis=1)).mean())


def simulate(n: int, rng: np.random.Generator) -> LearningCurve:
    """Learning curve of one cohort, with its patient resamples."""
    labels = np.arange(n) % 2
    features = SHIFT * labels[:, None] + rng.normal(size=(n, FEATURES))
    folds = np.empty(n, dtype=int)
    for c in range(2):
        folds[labels == c] = rng.permutation(n // 2) % FOLDS
    scores = np.empty((len(FRACTIONS), n))
    for fold in range(FOLDS):
        members = [rng.permutation(np.flatnonzero((folds != fold) & (labels == c))) for c in range(2)]
        held = folds == fold
        for place, fraction in enumerate(FRACTIONS):
            means = [features[each[: max(1, round(fraction * len(each)))]].mean(axis=0) for each in members]
            direction = means[1] - means[0]
            raw = (features[held] - (means[0] + means[1]) / 2) @ direction
            scores[place, held] = raw / np.linalg.norm(direction)
    counts = np.concatenate(list(resample_counts(labels, DRAWS, int(rng.integers(2**31)))))
    above = (scores[:, labels == 1, None] > scores[:, None, labels == 0]).astype(np.float32)
    half = n // 2
    drawn = np.einsum("rp,fpq,rq->rf", counts[:, labels == 1], above, counts[:, labels == 0], optimize=True) / half**2
    auc = [(rankdata(each)[labels == 1].mean() - (half + 1) / 2) / half for each in scores]
    return LearningCurve(FRACTIONS * n * (FOLDS - 1) / FOLDS, np.array(auc), drawn)


def extrapolate(job: tuple[int, int]) -> np.ndarray:
    """Limits of the AUC and of the gain of one cohort at `FURTHER`. Shape (len(FURTHER), 5)."""
    n, seed = job
    today = n * (FOLDS - 1) // FOLDS
    table = simulate(n, np.random.default_rng([n, seed])).extrapolate(today * np.array(FURTHER))
    return table[["auc", "ci_low", "ci_high", "gain_low", "gain_high"]].to_numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args()
    jobs = [(n, seed) for n in SIZES for seed in range(options.replicates)]
    found = np.array(run_jobs(extrapolate, jobs, options.workers, "Curves"))
    found = found.reshape(len(SIZES), options.replicates, len(FURTHER), 5)
    rows = []
    for n, of_size in zip(SIZES, found, strict=True):
        today = n * (FOLDS - 1) // FOLDS
        truth = np.array([true_auc(round(times * today / 2), np.random.default_rng(n)) for times in (1, *FURTHER)])
        for place, times in enumerate(FURTHER):
            auc, low, high, gain_low, gain_high = of_size[:, place].T
            gain = truth[place + 1] - truth[0]
            held = ((low <= truth[place + 1]) & (truth[place + 1] <= high)).mean()
            of_gain = ((gain_low <= gain) & (gain <= gain_high)).mean()
            rows.append((n, times, truth[place + 1], auc.mean(), held, (high - low).mean(), gain, of_gain))
    columns = ["patients", "times", "true_auc", "mean_extrapolation", "coverage", "width", "true_gain", "gain_coverage"]
    table = pd.DataFrame(rows, columns=columns)
    write_text(TABLE, table.round(4).to_csv(index=False))
    text = [
        "# Coverage of a learning curve's extrapolation\n",
        describe_origin("numpy", "scipy", "pandas"),
        f"{options.replicates:,} cohorts a row, parts {', '.join(f'{f:g}' for f in FRACTIONS)}.\n",
        "| patients | times as many | true AUC | mean extrapolation | coverage | mean width | true gain | coverage |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {a} | {b:g} | {c:.3f} | {d:.3f} | {e:.3f} | {f:.3f} | {g:.3f} | {h:.3f} |"
            for a, b, c, d, e, f, g, h in rows
        ),
    ]
    write_text(TABLE.with_suffix(".md"), "\n".join(text) + "\n")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
