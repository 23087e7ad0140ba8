"""Speed of the statistics on simulated predictions."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from fusion_ln.bench.record import Figure, measure
from fusion_ln.evaluation.compare import compare
from fusion_ln.evaluation.intervals import metric_intervals
from fusion_ln.evaluation.limits.remembered import forget
from fusion_ln.evaluation.limits.resampling import resample_counts
from fusion_ln.predictions import Predictions, predictions_from_logits
from fusion_ln.resamples import Resamples

BENCH_CLASSES = ("benign", "lymphoma", "metastatic")
MANY_DRAWS = 1000
BLOCK = 2**23  # numbers that are copied at once
CLASS_SHARES = (164 / 586, 122 / 586, 300 / 586)  # of Jiang et al. 2025


def compare_figures(*, n_models: int, n_patients: int, n_resamples: int, n_many: int) -> Iterator[Figure]:
    """Time the statistics of ``n_models`` on ``n_patients``, then those of one model on ``n_many`` patients."""
    models = [make_predictions(n_patients, 1.2 + 0.1 * k, seed=k) for k in range(n_models)]
    size = f"{n_models} models, {n_patients} patients, {n_resamples:,} draws"

    def auc_alone() -> None:
        labels = models[0].labels
        for counts in resample_counts(labels, n_resamples, seed=0):
            for model in models:
                resamples = Resamples(labels, model.probs, counts, model.probs)
                _ = resamples.one_vs_rest, resamples.one_vs_one

    def against_copy(task: str, work: Callable[[], object], n: int, draws: int) -> Figure:
        floor = "copying of a number per patient and draw"
        return measure("compare", task, work, floor, partial(_copy, n * draws), rounds=1)

    copied = n_models * n_patients
    yield against_copy(f"AUC alone: {size}", auc_alone, copied, n_resamples)
    named = {f"model {k}": model for k, model in enumerate(models)}

    def whole() -> None:
        forget()
        compare(named, "model 0", n_resamples=n_resamples)

    yield against_copy(f"the whole of `compare`: {size}", whole, copied, n_resamples)
    many = make_predictions(n_many, 1.6, seed=0)
    alone = partial(metric_intervals, many, n_resamples=MANY_DRAWS)
    task = f"every metric with intervals: 1 model, {n_many:,} patients, {MANY_DRAWS:,} draws"
    yield against_copy(task, alone, n_many, MANY_DRAWS)


def _copy(n: int) -> None:
    """Copy ``n`` numbers, a block at a time."""
    block = np.ones(min(n, BLOCK))
    target = np.empty_like(block)
    for start in range(0, n, BLOCK):
        rest = min(BLOCK, n - start)
        target[:rest] = block[:rest]


def make_predictions(n: int, skill: float, seed: int) -> Predictions:
    """Simulate ``n`` patients in the paper's classes: logits are the true class times ``skill``, plus noise."""
    labels = np.searchsorted(np.round(np.cumsum(CLASS_SHARES) * n), np.arange(n), side="right").clip(
        max=len(BENCH_CLASSES) - 1
    )
    logits = skill * np.eye(len(BENCH_CLASSES))[labels] + np.random.default_rng(seed).normal(
        size=(n, len(BENCH_CLASSES))
    )
    patients = [f"P{number:07d}" for number in range(n)]
    return predictions_from_logits(BENCH_CLASSES, patients, np.arange(n) % 5, labels, logits)
