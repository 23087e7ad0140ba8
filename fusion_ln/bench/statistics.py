"""Speed and memory of the statistics on simulated predictions."""

import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter, process_time

import numpy as np

from fusion_ln.bench.page import header, table_head, table_row
from fusion_ln.evaluation.compare import compare
from fusion_ln.evaluation.intervals import metric_intervals, resample
from fusion_ln.evaluation.limits.resampling import resample_counts
from fusion_ln.predictions import Predictions, predictions_from_logits
from fusion_ln.resamples import Resamples

BENCH_CLASSES = ("benign", "lymphoma", "metastatic")
CLASS_SHARES = (164 / 586, 122 / 586, 300 / 586)  # of Jiang et al. 2025


@dataclass(frozen=True)
class Timing:
    """Wall and CPU time of a task, and the peak memory of the process so far.

    On a shared machine ``cpu_seconds`` (of all threads) tell what ``seconds`` would be on an idle one.
    """

    task: str
    seconds: float
    cpu_seconds: float
    peak_mib: float


def statistics_page(*, n_models: int, n_patients: int, n_resamples: int, n_many: int) -> Iterator[str]:
    """Time the statistics (see `bench_statistics`) and yield the lines of their page, each when it is known."""
    yield from header("Speed and memory of the statistics", ["numpy", "fusion_ln"])
    yield from table_head(["Task", "Seconds", "CPU seconds", "Most memory of the process so far [MiB]"])
    for timing in bench_statistics(n_models=n_models, n_patients=n_patients, n_resamples=n_resamples, n_many=n_many):
        seconds = [f"{timing.seconds:.2f}", f"{timing.cpu_seconds:.2f}"]
        yield table_row([timing.task, *seconds, f"{timing.peak_mib:.0f}"])


def bench_statistics(*, n_models: int, n_patients: int, n_resamples: int, n_many: int) -> Iterator[Timing]:
    """Time the statistics of ``n_models`` on ``n_patients``, then of one model on ``n_many`` patients.

    Yields:
        One timing per task, smallest memory first, since the peak of a process never falls.
    """
    models = [make_predictions(n_patients, 1.2 + 0.1 * k, seed=k) for k in range(n_models)]
    size = f"{n_models} models x {n_patients} patients x {n_resamples:,} resamples"

    def auc_alone() -> None:
        labels = models[0].labels
        for counts in resample_counts(labels, n_resamples, seed=0):
            for model in models:
                resamples = Resamples(labels, model.probs, counts, model.probs)
                _ = resamples.one_vs_rest, resamples.one_vs_one

    yield _time(f"AUC alone (one-vs-rest, one-vs-one, per class): {size}", auc_alone)
    yield _time(
        f"every metric with percentile and BCa intervals: {size}",
        lambda: [found.table() for found in resample(models, n_resamples=n_resamples, seed=0)],
    )
    named = {f"model {k}": model for k, model in enumerate(models)}
    yield _time(
        f"the whole of `compare` (with DeLong, McNemar, 2,000 permutations, Holm, BH): {size}",
        lambda: compare(named, "model 0", n_resamples=n_resamples),
    )
    many = make_predictions(n_many, 1.6, seed=0)
    yield _time(
        f"every metric with its intervals: 1 model x {n_many:,} patients x 1,000 resamples",
        lambda: metric_intervals(many, n_resamples=1000),
    )


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


def _time(task: str, work: Callable[[], object]) -> Timing:
    start, cpu_start = perf_counter(), process_time()
    work()
    seconds, cpu_seconds = perf_counter() - start, process_time() - cpu_start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
    return Timing(task, seconds, cpu_seconds, peak)
