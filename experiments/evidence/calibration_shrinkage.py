"""Shrinkage of calibration maps towards the temperature: log loss of maps learnt on few and many patients.

Question  With which ridge do calibrated probabilities come nearest to the best map, whatever bent them and however
          few inner validation patients teach it? And is a calibrated fusion then never worse to act on than the best
          single modality?
Command   python experiments/evidence/calibration_shrinkage.py
Time      about 4 minutes on one core
Expect    the row of `fusion_ln.evaluation.probabilities.maps.SHRINKAGE` among the lowest mean regrets; no negative
          net benefit difference after calibration, clearly negative ones before (benchmarks/calibration_shrinkage.md)

Probabilities are exact posteriors of the phantom's tables, bent as training and fusion bend them. Regret: log loss on
fresh patients less that of the same map learnt on 30,000 patients nearly without a ridge. The net benefit is that of
a mean of the three modalities' exact posteriors, calibrated on other patients, against each single exact posterior.
"""

import argparse
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import log_softmax, softmax
from threadpoolctl import threadpool_limits

from fusion_ln.bench.page import describe_origin
from fusion_ln.cohort.phantom.findings import draw_findings, posterior, tables
from fusion_ln.evaluation.probabilities.decision import THRESHOLDS, net_benefits
from fusion_ln.evaluation.probabilities.maps import SHRINKAGE, Shrinkage, calibrate, fit_map
from fusion_ln.files.formats import write_text
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = tables().classes
SIZES = (15, 29, 70, 200, 1000)  # inner validation patients of a fold; the paper's cohort has 70
NEVER = 1e9  # a ridge that leaves the part out
CANDIDATES = tuple(
    Shrinkage(slope=both, offsets=both, mixing=mixing) for both, mixing in product((1, 2, 4), (10, 30, 100, 300, NEVER))
)
TABLE = Path(__file__).parents[1] / "benchmarks" / "calibration_shrinkage.csv"
SHIFT = TABLE.with_name("prevalence_shift.csv")
BENEFIT = TABLE.with_name("calibrated_net_benefit.csv")


def draw_patients(n: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels of phantom patients, and the exact posterior of each modality."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(CLASSES), n, p=tables().prevalence)
    findings = draw_findings(labels, rng)
    return labels, {modality: posterior(findings, [modality]) for modality in tables().modalities}


def bent(singles: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Probabilities as models and fusions bend them, by the name of what bent them."""
    logs = {name: np.log(probs) for name, probs in singles.items()}
    balanced = {name: softmax(each - np.log(tables().prevalence), axis=1) for name, each in logs.items()}
    noise = np.random.default_rng(seed).normal(size=logs["2d"].shape)
    found = {
        "nothing": logs["elastic"],
        "too sure": 2 * logs["2d"],
        "not sure enough": 0.5 * logs["elastic"],
        "over-sampling": np.log(balanced["2d"]),
        "over-sampling, too sure, noise": 2 * np.log(balanced["2d"]) + noise,
        "mean of probabilities": np.log(np.mean(list(singles.values()), axis=0)),
        "mean of probabilities, over-sampling": np.log(np.mean(list(balanced.values()), axis=0)),
        "mean of logits": np.mean(list(logs.values()), axis=0),
    }
    return {name: np.asarray(softmax(each, axis=1)) for name, each in found.items()}


def regrets(*, replicates: int, sizes: tuple[int, ...] = SIZES, pool: int = 30_000, seed: int = 0) -> pd.DataFrame:
    """``bent_by, patients, slope, mixing, regret``: mean over draws of the patients; no ridge named: raw."""
    labels, singles = draw_patients(2 * pool, seed)
    rows = []
    for name, probs in bent(singles, seed).items():
        fresh, truth = probs[pool : pool + 8000], labels[pool : pool + 8000]
        best = log_loss(fit_map(probs[:pool], labels[:pool], CLASSES, Shrinkage(0.01, 0.01, 0.01)).apply(fresh), truth)
        for n in sizes:
            draws = [draw_part(labels[:pool], n, number) for number in range(replicates)]
            for each in CANDIDATES:
                losses = [
                    log_loss(fit_map(probs[part], labels[part], CLASSES, each).apply(fresh), truth) for part in draws
                ]
                rows.append((name, n, each.slope, each.mixing, float(np.mean(losses)) - best))
            rows.append((name, n, np.nan, np.nan, log_loss(fresh, truth) - best))  # as it is
    return pd.DataFrame(rows, columns=["bent_by", "patients", "slope", "mixing", "regret"])


def draw_part(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Positions of ``n`` patients, in the shares of the classes."""
    rng = np.random.default_rng([n, seed])
    counts = np.maximum(np.round(tables().prevalence * n).astype(int), 1)
    return np.concatenate([rng.choice(np.flatnonzero(labels == c), m, replace=False) for c, m in enumerate(counts)])


def log_loss(probs: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(np.maximum(probs[np.arange(len(labels)), labels], 1e-15)).mean())


def net_benefit_gaps(n: int, *, inner: int, seed: int = 1) -> pd.DataFrame:
    """``inner, act_on, probabilities, difference, threshold``: least net benefit of the fused less any single one.

    Args:
        n: Held-out patients, in two folds.
        inner: Inner validation patients of each fold.
    """
    labels, singles = draw_patients(n, seed)
    held_out = as_predictions(labels, singles, np.arange(n) % 2)
    labels, singles = draw_patients(2 * inner, seed + 1)
    learn_from = as_predictions(labels, singles, np.arange(2 * inner) % 2)
    rows = []
    fused = calibrate(held_out["mean"], learn_from["mean"])
    stages = {"raw": fused.raw, "calibrated": fused.predictions}
    for positive in [CLASSES[1:], *((name,) for name in CLASSES)]:
        thresholds = THRESHOLDS if len(positive) > 1 else THRESHOLDS[:90]
        best = np.max([net_benefits(held_out[m], positive) for m in tables().modalities], axis=0)
        for stage, predictions in stages.items():
            gap = (net_benefits(predictions, positive) - best)[: len(thresholds)]
            rows.append((inner, " + ".join(positive), stage, gap.min(), thresholds[gap.argmin()]))
    return pd.DataFrame(rows, columns=["inner", "act_on", "probabilities", "difference", "threshold"])


def prevalence_errors(*, replicates: int, patients: int = 20_000, seed: int = 3) -> pd.DataFrame:
    """Mean probability given to a class in another population less its share there, after maps learnt on few patients.

    The model's probabilities are those of over-sampled classes. ``patients, ridge, class, bias, spread``: mean and
    standard deviation over the draws of the inner patients; "none": offsets without a ridge.
    """
    labels, singles = draw_patients(2 * patients, seed)
    share = tables().prevalence
    probs = softmax(np.log(singles["elastic"]) - np.log(share), axis=1)
    fresh, truth = probs[patients:], labels[patients:]
    there = np.array([0.7, 0.1, 0.2])
    weights = (there / np.bincount(truth))[truth]
    rows = []
    for n, (name, ridge) in product((29, 70, 200), {"kept": SHRINKAGE, "none": Shrinkage(2, 1e-6, 100)}.items()):
        errors = []
        for number in range(replicates):
            part = draw_part(labels[:patients], n, number)
            found = fit_map(probs[part], labels[part], CLASSES, ridge)
            errors.append(weights @ found.apply(fresh, there) - there)
        for c, each in enumerate(CLASSES):
            rows.append((n, name, each, np.mean(errors, axis=0)[c], np.std(errors, axis=0)[c]))
    return pd.DataFrame(rows, columns=["patients", "ridge", "class", "bias", "spread"])


def as_predictions(labels: np.ndarray, singles: dict[str, np.ndarray], folds: np.ndarray) -> dict[str, Predictions]:
    """Predictions of each single modality and of the mean of all."""
    patients = [f"P{i:07d}" for i in range(len(labels))]
    probs = singles | {"mean": np.mean(list(singles.values()), axis=0)}
    return {
        name: predictions_from_logits(CLASSES, patients, folds, labels, np.asarray(log_softmax(np.log(each), axis=1)))
        for name, each in probs.items()
    }


def header(seconds: float) -> str:
    """Describe the making of the tables in comment lines."""
    return f"# {describe_origin('numpy', 'scipy', 'pandas')}\n# {seconds:.0f} s.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=15)
    parser.add_argument("--patients", type=int, default=200_000, help="held-out patients of the net benefit")
    parser.add_argument("--shift-only", action="store_true", help="the shift to another prevalence alone")
    options = parser.parse_args()
    start = datetime.now(UTC)
    with threadpool_limits(1):
        shifted = prevalence_errors(replicates=10 * options.replicates)
    write_text(SHIFT, header((datetime.now(UTC) - start).total_seconds()) + shifted.round(5).to_csv(index=False))
    print(shifted.round(4).to_string(index=False))
    if options.shift_only:
        return
    with threadpool_limits(1):
        gaps = pd.concat([net_benefit_gaps(options.patients, inner=inner) for inner in (70, 1000, 50_000)])
        found = regrets(replicates=options.replicates)
    top = header((datetime.now(UTC) - start).total_seconds())
    write_text(TABLE, top + found.round(5).to_csv(index=False))
    write_text(BENEFIT, top + gaps.round(5).to_csv(index=False))
    means = found.fillna(-1).pivot_table(index=["slope", "mixing"], columns="patients", values="regret")  # -1: raw
    means["all"] = means.mean(axis=1)
    print(means.round(4).to_string(), f"\nchosen: {SHRINKAGE}\n\n{gaps.round(4).to_string(index=False)}")
    print(f"Wrote {TABLE} and {BENEFIT}")


if __name__ == "__main__":
    main()
