"""Do sets and calibration of frozen models hold on the average over studies? Simulated studies of scores alone.

Question  Over many studies, what do the sets of an ensemble and of a refit cover, and what are the calibration slopes?
Command   python experiments/evidence/frozen_scores.py
Time      about 2 minutes on 2 cores
Expect    of the ensemble, mean coverage at 90 % of each class 0.89 to 0.95 and mean slopes 0.95 to 1.05; a refit is
          less sure than it might be, with slopes above 1

Each model has the exact posterior's logits, scaled, shifted as over-sampling does, and an error that is a smooth
function of its own; a refit's error has the variance that 1 / 0.68 times the patients would give it.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logit, softmax
from simulation import run_jobs

from fusion_ln.bench.page import describe_origin
from fusion_ln.evaluation.probabilities.cv_plus import FoldScores
from fusion_ln.evaluation.probabilities.ensemble import calibrate_mean
from fusion_ln.evaluation.probabilities.recalibration import fit_logistic
from fusion_ln.files.formats import write_text
from fusion_ln.predictions import Predictions, predictions_from_logits
from fusion_ln.terms import FOLD

ALPHA, FOLDS = 0.1, 5
SIZES = (240, 586)  # patients of a study
TABLE = Path(__file__).parents[1] / "benchmarks" / "frozen_scores.md"
# Shares and centres of the classes, shift by over-sampling, scale and error of a model.
SHARES = np.array([0.28, 0.21, 0.51])
CENTRES = 1.2 * np.array([[2, 0, 0], [0, 1.3, 0.3], [0, 0.2, 1.8]])
BIAS, SCALE, ERROR, WAVES = np.array([0.4, 0.3, -0.6]), 1.4, 1.0, 40
ALL_PATIENTS = 0.8 * 0.85  # share of the patients whom a fold's model learns from


def draw_patients(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (n,), features (n, 3) and the logits of their exact posterior (n, 3)."""
    labels = rng.choice(3, size=n, p=SHARES)
    seen = rng.normal(size=(n, 3)) + CENTRES[labels]
    return labels, seen, -0.5 * np.square(seen[:, None] - CENTRES).sum(axis=2) + np.log(SHARES)


def draw_model(rng: np.random.Generator, error: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A model, from features and exact logits to its own, whose error is a random smooth function of the features."""
    waves, phases = rng.normal(size=(3, WAVES)), rng.uniform(0, 2 * np.pi, WAVES)
    weights = rng.normal(size=(WAVES, 3)) * error * np.sqrt(2 / WAVES)
    return lambda seen, exact: SCALE * (exact + np.cos(seen @ waves + phases) @ weights) + BIAS


def one_study(n: int, seed: int) -> list[dict[str, object]]:
    """Coverage and slope of each class on 2,000 fresh patients of one simulated study, for ensemble and refit."""
    rng = np.random.default_rng([n, seed])
    labels, seen, exact = draw_patients(rng, n)
    models = [draw_model(rng, ERROR) for _ in range(FOLDS)]
    whole = draw_model(rng, ERROR * np.sqrt(ALL_PATIENTS))
    names, folds = np.array([f"{i:05}" for i in range(n)]), rng.permutation(np.arange(n) % FOLDS)
    logits = np.stack([model(seen, exact) for model in models])
    held_out = predictions_from_logits(("0", "1", "2"), names.tolist(), folds, labels, logits[folds, np.arange(n)])
    tables = []
    for fold in range(FOLDS):
        chosen = rng.choice(np.flatnonzero(folds != fold), round(0.15 * (folds != fold).sum()), replace=False)
        own = (np.full(len(chosen), fold), labels[chosen], logits[fold, chosen])
        tables.append(predictions_from_logits(held_out.classes, names[chosen], *own).table)
    inner = Predictions(held_out.classes, pd.concat(tables))
    new, new_seen, new_exact = draw_patients(rng, 2000)
    rows: list[dict[str, object]] = []
    for answer, these in (("ensemble", models), ("refit", [whole])):
        probs = np.stack([softmax(model(new_seen, new_exact), axis=1) for model in these])
        taught = inner if answer == "ensemble" else Predictions(inner.classes, inner.table.iloc[:0])
        calibrated = calibrate_mean(held_out, taught, len(these)).apply(probs.mean(axis=0))
        scored = held_out.table if answer == "ensemble" else held_out.table.assign(**{FOLD: 0})
        member = FoldScores.of(Predictions(held_out.classes, scored)).p_values(probs) > ALPHA
        for c in range(3):
            found = {"coverage": member[new == c, c].mean(), "slope": slope_of(calibrated, new, c)}
            rows.append({"patients": n, "answer": answer, "class": c, **found})
    return rows


def slope_of(probs: np.ndarray, labels: np.ndarray, c: int) -> float:
    """Calibration slope of a class against the rest."""
    logits = logit(probs[:, c].clip(1e-6, 1 - 1e-6))
    return float(fit_logistic(np.column_stack([np.ones_like(logits), logits]), labels == c, iter(()))[0, 1])


def study_of(job: tuple[int, int]) -> list[dict[str, object]]:
    """One study of so many patients and with this seed."""
    return one_study(*job)


def mean_table(rows: list[dict[str, object]]) -> list[str]:
    """Means of coverage and slope over studies, as lines of Markdown."""
    groups = pd.DataFrame(rows).groupby(["patients", "answer", "class"])
    means, errors = groups.mean().round(3).astype(str), groups.sem().round(3).astype(str)
    cells = means + " ± " + errors
    return [
        "| patients | answer | class | coverage | slope |",
        "| --- | --- | --- | --- | --- |",
        *(f"| {' | '.join(map(str, row))} |" for row in cells.reset_index().itertuples(index=False)),
    ]


def main() -> None:
    """Simulate and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200, help="of each size")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    began = time.monotonic()
    jobs = [(n, seed) for n in SIZES for seed in range(options.studies)]
    rows = [row for found in run_jobs(study_of, jobs, options.workers, "Studies") for row in found]
    lines = [
        "# Sets and calibration of frozen models, on the average over studies\n",
        f"{describe_origin('numpy', 'scipy')} {time.monotonic() - began:.0f} s.\n",
        f"{options.studies} simulated studies a row, each on 2,000 fresh patients; sets at 90 %; mean ± its standard "
        "error:\n",
        *mean_table(rows),
    ]
    write_text(options.out, "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
