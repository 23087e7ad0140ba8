"""Is the evidence itself right? Coverage of the 95 % intervals and error rates of the tests, on simulated models.

Question  Do the printed intervals hold the true value 95 times in 100, and do tests reject 5 times in 100 where nothing
          differs? Do corrections keep their promise for whole families?
Command   python experiments/evidence_calibration.py [--replicates 4000] [--workers 16]
Time      about 50 minutes of one core with 4,000 replicates
Expect    coverage of at least 0.93 (above 0.97: named wide), single tests from 0.04 to 0.06, families and the
          intersection-union test at most 0.06; benchmarks/evidence_calibration.md names what falls outside, and why

Two models see each patient through logits = skill x true class + noise; a part of the noise is the patient's and shared
by both. Every replicate draws its skill so that recall is uniform over a range: the coverage of a share swings with the
share. "unstable": five nearest-centroid fits per model, each on a resample of its training patients and a few features;
"these trainings" is the mean of what the five fits reach on 30,000 new patients (with few, the chance in this truth
counts against the intervals), "procedure" its mean over `CHUNK` replicates. "permutation" swaps the two models' answers
within patients: it shows how often the macro AUC can reject at all where few patients tell the models apart.
"before" is what the tables gave before 2026-11-26: BCa for a metric, the percentile interval for a difference.
"""

import argparse
import shlex
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from datetime import UTC, datetime
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from scipy.special import softmax
from scipy.stats import chi2, rankdata
from threadpoolctl import threadpool_limits

from fusion_ln.evaluation.delong import z_test
from fusion_ln.evaluation.intervals import Resampled, resample_counts, split_name
from fusion_ln.evaluation.limits.auc import Aucs, aucs, covariance, one_vs_one
from fusion_ln.evaluation.limits.metrics import NEEDS_WRONG
from fusion_ln.evaluation.limits.shares import Limits, difference_limits, mean_share_limits, wilson
from fusion_ln.evaluation.significance import all_better, holm
from fusion_ln.files.formats import write_text
from fusion_ln.metrics import METRICS, PRIMARY, Metric, Resamples, score
from fusion_ln.records.origin import hardware, installed_versions

CLASSES = ("benign", "lymphoma", "metastatic")
COUNTS = {
    30: (10, 10, 10),
    60: (17, 13, 30),
    100: (28, 21, 51),
    150: (42, 32, 76),
    240: (67, 50, 123),
    586: (164, 122, 300),
}
# Recall of model a and of model b, each over the range of its replicates.
MODELS = {
    "same": ((0.74, 0.84), (0.74, 0.84)),
    "apart": ((0.69, 0.79), (0.79, 0.89)),
    "recall 0.9": ((0.85, 0.95), (0.85, 0.95)),
    "recall 0.95": ((0.90, 0.99), (0.90, 0.99)),
    "apart, 0.9": ((0.81, 0.91), (0.88, 0.98)),
}
SHARED_NOISE = 0.5  # part of the noise's variance
SIZES = (30, 100, 150, 586)
TEST_SIZES = (60, 100, 150, 586)
UNSTABLE_SIZES = (240, 586)
SKILLS = np.arange(0.8, 4.61, 0.2)
TRUTH_PATIENTS = 30_000  # of each class, behind every true value
BLOCK = 200  # replicates ranked at once
CHUNK = 400  # replicates of one task of a worker
PERMUTED = (60, 100, 150)  # sizes whose permutation test is run: beyond it agrees with DeLong's
PERMUTATIONS = 199
BOUNDS = {"coverage": (0.93, 0.97), "rejection": (0.04, 0.06), "family": (0.0, 0.06)}
DRAWN = ("f1", "mcc", "brier", "log_loss")  # what the product resamples
COUNTED = ("mcc", "precision", "recall", "f1")  # what the counts of true and predicted class decide
METRIC, DIFFERENCE = "coverage of a metric", "coverage of a difference"
TESTED = {"recall 0.65": (0.6, 0.7), "same": (0.74, 0.84), "recall 0.9": (0.85, 0.95), "recall 0.95": (0.9, 0.99)}
Figures = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # value, limits, influence; (2, R), the last (2, R, P)
TABLE = Path(__file__).parent / "benchmarks" / "evidence_calibration.csv"
Hits = dict[tuple[str, str, str], list[float]]  # by what, metric and method: 1 hit, 0 missed, NaN not printed


def labels_of(n: int) -> np.ndarray:
    return np.repeat([0, 1, 2], COUNTS[n])


def simulate(labels: np.ndarray, skills: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Logits of K models in R replicates. Shape (K, R, P, 3)."""
    size = (len(skills[0]), len(labels), 3)
    shared = np.sqrt(SHARED_NOISE) * rng.normal(size=size)
    noise = [np.sqrt(1 - SHARED_NOISE) * rng.normal(size=size) for _ in skills]
    return np.stack([k[:, None, None] * np.eye(3)[labels] + shared + own for k, own in zip(skills, noise, strict=True)])


def truth_grid(n: int) -> dict[str, np.ndarray]:
    """Every metric's true value at each of `SKILLS`, with the class counts of ``n`` patients as weights."""
    return {name: values[:, list(COUNTS).index(n)] for name, values in truths().items()}


@cache
def truths() -> dict[str, np.ndarray]:
    """Every metric's true value at each of `SKILLS` (rows), for each of `COUNTS`."""
    labels = np.repeat([0, 1, 2], TRUTH_PATIENTS)
    weights = np.array(list(COUNTS.values()), dtype=float)[:, labels]
    found = defaultdict(list)
    for skill in SKILLS:
        logits = simulate(labels, [np.array([skill])], np.random.default_rng(2))[0, 0]
        for name, value in score(labels, softmax(logits, axis=1), CLASSES, weights).items():
            found[name].append(value)
    return {name: np.array(values) for name, values in found.items()}


def skills_for(ranges: tuple[tuple[float, float], ...], share: np.ndarray) -> list[np.ndarray]:
    """Skills of each model whose recall lies at ``share`` (R,) of its range."""
    recall = truth_grid(30)["recall"]
    return [np.interp(low + (high - low) * share, recall, SKILLS) for low, high in ranges]


def truth_at(n: int, skill: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.interp(skill, SKILLS, values) for name, values in truth_grid(n).items()}


def calibrate(*, replicates: int, draws: int, seed: int, workers: int = 1) -> pd.DataFrame:
    """Tabulate hits: ``models, n, what, metric, class, method, rate, standard_error, printed, verdict``."""
    tasks: list[tuple[str, int, Callable[..., Hits], tuple[object, ...]]] = []
    tasks += [("unstable", n, replicate_unstable, (n, draws)) for n in UNSTABLE_SIZES]
    tasks += [(models, n, replicate_tests, (n, recall)) for models, recall in TESTED.items() for n in TEST_SIZES]
    tasks += [(models, n, replicate_models, (n, MODELS[models], draws)) for models in MODELS for n in SIZES]
    truths()  # before the workers are forked
    rows: list[dict[str, str | int | float]] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        parts = [(min(CHUNK, replicates - start), start) for start in range(0, replicates, CHUNK)]
        run = pool.submit if workers > 1 else _now
        found = [
            [run(function, *given, part, [seed, start, place]) for part, start in parts]
            for place, (_, _, function, given) in enumerate(tasks)
        ]
        for (models, n, *_), chunks in zip(tasks, found, strict=True):
            hits: Hits = defaultdict(list)
            for chunk in chunks:
                for key, each in chunk.result().items():
                    hits[key] += each
            rows += _rows(models, n, hits)
    return pd.DataFrame(rows)


def _now(function: Callable[..., Hits], *given: object) -> Future[Hits]:
    """Run a task in this process."""
    done: Future[Hits] = Future()
    done.set_result(function(*given))
    return done


def replicate_models(
    n: int, ranges: tuple[tuple[float, float], ...], draws: int, replicates: int, seed: list[int]
) -> Hits:
    """Hits of intervals on the models of `MODELS`."""
    rng, labels, hits = np.random.default_rng(seed), labels_of(n), defaultdict(list)
    for start in range(0, replicates, BLOCK):
        skills = skills_for(ranges, rng.random(min(BLOCK, replicates - start)))
        probs = softmax(simulate(labels, skills, rng), axis=-1)
        truths = [truth_at(n, skill) for skill in skills]
        count_closed(hits, "printed", closed_figures(labels, probs), truths)
        for name, (metric, columns) in drawn_figures(labels, probs, draws, start).items():
            count_drawn(hits, "printed", name, metric, columns, truths)
    return hits


def closed_figures(labels: np.ndarray, probs: np.ndarray) -> dict[str, Figures]:
    """Value, limits and influence of what has limits in closed form, for both models (2, R, ...)."""
    ranked = aucs(labels, probs)
    guesses, found = probs.argmax(axis=-1), {}
    right = guesses == labels
    for name, own in (("recall", labels[None, None]), ("precision", guesses)):
        of = np.stack([own == c for c in range(3)], axis=-1) & np.ones((*right.shape, 1), dtype=bool)
        total, hits = of.sum(axis=-2), (of & right[..., None]).sum(axis=-2)
        low, high = wilson(hits, total)
        value = hits / np.maximum(total, 1)
        influence = of * (right[..., None] - value[..., None, :]) / np.maximum(total, 1)[..., None, :]
        found |= {
            f"{name}:{c}": (value[..., k], low[..., k], high[..., k], influence[..., k]) for k, c in enumerate(CLASSES)
        }
        found[name] = (value.mean(axis=-1), *mean_share_limits(value, total), influence.mean(axis=-1))
    found["accuracy"] = (right.mean(axis=-1), *wilson(right.sum(axis=-1), len(labels)), right / len(labels))
    by_class = (ranked.by_class, *ranked.limits)
    found |= {f"auc:{c}": (*(x[..., k] for x in by_class), ranked.influence[..., k]) for k, c in enumerate(CLASSES)}
    found["auc_ovr"] = (ranked.macro, *ranked.macro_limits, ranked.macro_influence)
    found["auc_ovo"] = one_vs_one(labels, probs, few=ranked.few)
    return found


def count_closed(hits: Hits, method: str, figures: dict[str, Figures], truths: list[dict[str, np.ndarray]]) -> None:
    """Add the hits of both kinds of intervals, all replicates at once."""
    for name, (value, low, high, influence) in figures.items():
        groups = labels_of(influence.shape[-1])
        covariances = [covariance(influence[i], influence[k], groups) for i, k in ((0, 0), (1, 1), (0, 1))]
        spread = np.sqrt(covariances[0] * covariances[1])
        r = np.divide(covariances[2], spread, out=np.zeros_like(spread), where=spread > 0)
        both = difference_limits(*value, (low[0], high[0]), (low[1], high[1]), r)
        _count(hits, (METRIC, name, method), (low[0], high[0]), truths[0][name])
        _count(hits, (DIFFERENCE, name, method), both, truths[0][name] - truths[1][name])


def drawn_figures(
    labels: np.ndarray, probs: np.ndarray, draws: int, seed: int
) -> dict[str, tuple[Metric, list[Resampled]]]:
    """Both models' resamples of what the product resamples, one column per replicate: `Resampled` is column-wise."""
    counts = np.concatenate(list(resample_counts(labels, draws, seed)))
    guesses, found = probs.argmax(axis=-1), {}
    cells = np.eye(9, dtype=np.float32)[labels * 3 + guesses]  # (2, R, P, 9)
    sample = cells.sum(axis=2)  # (2, R, 9)
    drawn = np.einsum("bp,mrpk->bmrk", counts, cells, optimize=True)
    without = sample[:, :, None] - np.eye(9, dtype=np.float32)  # one patient of each cell left out: (2, R, 9, 9)
    place = labels * 3 + guesses
    for metric in METRICS:
        if metric.name in COUNTED:
            of = [metric.compute(_of_confusion(part)) for part in (sample, drawn, without)]
            of = [each[..., None] if not metric.per_class else each for each in of]
            value, resampled, left_out = (
                of[0].reshape(*sample.shape[:2], -1),
                of[1].reshape(draws, *sample.shape[:2], -1),
                of[2].reshape(*without.shape[:3], -1),
            )
            for k, name in enumerate(metric.titles(CLASSES)):
                left = np.take_along_axis(left_out[..., k], place, axis=2)  # (2, R, P)
                found[name] = (metric, _columns(labels, probs, value[..., k], resampled[..., k], left, metric))
    if n_smallest(labels) >= 100:
        for metric in METRICS:
            if metric.name in ("brier", "log_loss"):
                losses = _losses(metric.name, labels, probs)
                resampled = np.einsum("bp,mrp->bmr", counts, losses) / len(labels)
                left = (losses.sum(axis=2, keepdims=True) - losses) / (len(labels) - 1)
                found[metric.name] = (metric, _columns(labels, probs, losses.mean(axis=2), resampled, left, metric))
    return found


def n_smallest(labels: np.ndarray) -> int:
    return int(np.bincount(labels).min())


def _of_confusion(cells: np.ndarray) -> Resamples:
    """Resamples of which only the confusion matrices (..., 9) are known."""
    found = Resamples(np.zeros(1, int), np.full((1, 3), 1 / 3), np.ones((1, 1)), np.zeros((1, 3)))
    found.__dict__["confusion"] = cells.reshape(-1, 3, 3).astype(np.float64)
    return found


def _losses(name: str, labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Loss of each patient, of the metric of this name. Shape of ``probs`` without its last axis."""
    if name == "brier":
        return np.square(probs - np.eye(3)[labels]).sum(axis=-1)
    return -np.log(
        np.maximum(np.take_along_axis(probs, np.broadcast_to(labels, probs.shape[:-1])[..., None], -1)[..., 0], 1e-15)
    )


def _columns(
    labels: np.ndarray, probs: np.ndarray, value: np.ndarray, drawn: np.ndarray, left: np.ndarray, metric: Metric
) -> list[Resampled]:
    """Build both models' `Resampled`, a column per replicate, from values (2, R), draws and leave-one-out values."""
    influence = np.empty(left.shape)
    for c in range(3):
        own = left[..., labels == c]
        size = own.shape[-1]
        influence[..., labels == c] = (size - 1) * (own.mean(axis=-1, keepdims=True) - own) / size
    wrong = (probs.argmax(axis=-1) != labels).sum(axis=-1)
    holds = (wrong >= NEEDS_WRONG) & (n_smallest(labels) >= metric.needs)
    names = tuple(map(str, range(value.shape[1])))
    nothing = np.full(value.shape[1], np.nan)
    return [Resampled(names, value[m], drawn[:, m], influence[m].T, holds[m], (nothing, nothing)) for m in range(2)]


def count_drawn(
    hits: Hits, method: str, name: str, metric: Metric, pair: list[Resampled], truths: list[dict[str, np.ndarray]]
) -> None:
    """Add the hits of intervals by resampling: of what has no closed form, and of everything as it was before."""
    a, b = pair
    difference = truths[0][name] - truths[1][name]
    if metric.name in DRAWN:
        _count(hits, (METRIC, name, method), a.interval, truths[0][name])
        _count(hits, (DIFFERENCE, name, method), a.difference_interval(b), difference)
    if method == "printed":
        _count(hits, (METRIC, name, "before"), a.bca_interval(), truths[0][name])
        _count(hits, (DIFFERENCE, name, "before"), a.minus(b).percentile_interval(), difference)


def _count(hits: Hits, key: tuple[str, str, str], limits: Limits, target: np.ndarray) -> None:
    low, high = limits
    hits[key] += np.where(np.isnan(low), np.nan, (low <= target) & (target <= high)).tolist()


def replicate_unstable(n: int, draws: int, replicates: int, seed: list[int]) -> Hits:
    """Hits of intervals on learners whose five fits differ: given these trainings, and of the procedure."""
    rng, labels = np.random.default_rng(seed), labels_of(n)
    found = [[fit_unstable(labels, rng) for _ in range(2)] for _ in range(replicates)]
    probs = softmax(np.stack([[pair[m][0] for pair in found] for m in range(2)]), axis=-1)
    these = [{k: np.array([pair[m][1][k] for pair in found]) for k in found[0][m][1]} for m in range(2)]
    procedure = [{name: np.full(replicates, values.mean()) for name, values in of.items()} for of in these]
    hits: Hits = defaultdict(list)
    for start in range(0, replicates, BLOCK):
        part = slice(start, start + BLOCK)
        figures, drawn = closed_figures(labels, probs[:, part]), drawn_figures(labels, probs[:, part], draws, start)
        for method, of in (("these trainings", these), ("procedure", procedure)):
            truths = [{name: values[part] for name, values in each.items()} for each in of]
            count_closed(hits, method, figures, truths)
            for name, (metric, columns) in drawn.items():
                count_drawn(hits, method, name, metric, columns, truths)
    return hits


def fit_unstable(
    labels: np.ndarray, rng: np.random.Generator, *, features: int = 30, used: int = 14, new: int = 30_000
) -> tuple[np.ndarray, dict[str, float]]:
    """Out-of-fold logits (P, 3) of nearest centroids, and what the five fits reach on new patients."""
    centres = 0.6 * np.random.default_rng(1).normal(size=(3, features))
    pictures = centres[labels] + rng.normal(size=(len(labels), features))
    folds = rng.permutation(len(labels)) % 5
    out, new_labels, new_logits = np.empty((len(labels), 3)), [], []
    for fold in range(5):
        train = np.flatnonzero(folds != fold)
        drawn = np.concatenate([rng.choice(train[labels[train] == c], (labels[train] == c).sum()) for c in range(3)])
        weights = np.zeros((3, features))
        chosen = rng.choice(features, used, replace=False)
        weights[:, chosen] = [pictures[drawn[labels[drawn] == c]][:, chosen].mean(axis=0) for c in range(3)]
        bias = -np.square(weights).sum(axis=1) / 2
        out[folds == fold] = pictures[folds == fold] @ weights.T + bias
        fresh = rng.choice(labels, new // 5)
        u, s, _ = np.linalg.svd(weights @ weights.T)
        noise = rng.normal(size=(len(fresh), 3)) @ (u * np.sqrt(s)).T
        new_labels.append(fresh)
        new_logits.append(centres[fresh] @ weights.T + bias + noise)
    every = [metric for metric in METRICS if metric.name != "ece"]
    truth = score(np.concatenate(new_labels), softmax(np.concatenate(new_logits), axis=1), CLASSES, metrics=every)
    return out, {name: float(value[0]) for name, value in truth.items()}


def replicate_tests(n: int, recall: tuple[float, float], replicates: int, seed: list[int]) -> Hits:
    """Rejections of single tests, of Holm's family of four fusions, and of the intersection-union test."""
    rng, labels, hits = np.random.default_rng(seed), labels_of(n), defaultdict(list)
    better = (recall[0] + 0.05, min(recall[1] + 0.05, 0.995))
    worse = (recall[0] - 0.08, recall[1] - 0.08)
    for start in range(0, replicates, BLOCK):
        share = rng.random(min(BLOCK, replicates - start))
        skills = skills_for((recall,) * 5 + (better,) * 3 + (worse,) * 2, share)
        logits = simulate(labels, skills, rng)
        found = [aucs(labels, softmax(own, axis=-1)) for own in logits]
        z, p = _macro_tests(found[0], found[1:])
        for c, name in enumerate(CLASSES):
            own, other = found[0], found[1]
            variance = own.covariance(own) + other.covariance(other) - 2 * own.covariance(other)
            _, of_class = z_test((own.by_class - other.by_class)[:, c], variance[:, c])
            hits["rejection", f"auc:{name}", "DeLong"] += (of_class < 0.05).tolist()
        hits["rejection", "auc_ovr", "macro DeLong"] += (p[0] < 0.05).tolist()
        if n in PERMUTED:
            pairs = zip(*softmax(logits[:2], axis=-1), strict=True)
            hits["rejection", "auc_ovr", "permutation"] += [permutation_p(labels, *pair, rng) <= 0.05 for pair in pairs]
        right = logits[:2].argmax(axis=-1) == labels
        apart = np.stack([(right[m] & ~right[1 - m]).sum(axis=-1) for m in range(2)])
        statistic = np.square(apart[0] - apart[1]) / np.maximum(apart.sum(axis=0), 1)
        hits["rejection", "accuracy", "McNemar"] += (chi2.sf(statistic, 1) < 0.05).tolist()
        for true in range(4):  # so many of four fusions are better than the reference, model 0
            family = np.concatenate([p[: 4 - true], p[4 : 4 + true]])
            false = (holm(family)[: 4 - true] < 0.05).any(axis=0)
            hits["family", "auc_ovr", f"Holm, {true} of 4 fusions better"] += false.tolist()
        # Model 0 is the fusion; single modalities as good as it (1, 2, 3) and worse (8, 9).
        for name, singles in {"3 as good": (1, 2, 3), "2 as good": (1, 2, 8), "1 as good": (1, 8, 9)}.items():
            rows = [single - 1 for single in singles]
            together, _ = all_better(z[rows], p[rows])
            hits["family", "auc_ovr", f"intersection-union, {name}"] += (together < 0.05).tolist()
    return hits


def permutation_p(labels: np.ndarray, a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> float:
    """P-value of the difference in macro AUC, by swapping two models' answers within patients."""
    ranks, twice = np.concatenate([rankdata(each, axis=0) for each in (a, b)]), np.concatenate([labels, labels])
    swaps = np.concatenate([np.zeros((1, len(labels)), bool), rng.random((PERMUTATIONS, len(labels))) < 0.5])
    first = np.concatenate([~swaps, swaps], axis=1).astype(np.float32)
    metrics = [metric for metric in METRICS if metric.name == PRIMARY]
    found = [
        score(twice, np.concatenate([a, b]), CLASSES, half, ranking=ranks, metrics=metrics)[PRIMARY]
        for half in (first, 1 - first)
    ]
    gaps = np.abs(found[0] - found[1])
    return float((gaps >= gaps[0] - 1e-12).mean())


def _macro_tests(own: Aucs, others: list[Aucs]) -> tuple[np.ndarray, np.ndarray]:
    """Test the macro AUC of ``own`` minus each other's: z and p, both (K, R)."""
    tests = []
    for other in others:
        variance = own.macro_covariance(own) + other.macro_covariance(other) - 2 * own.macro_covariance(other)
        tests.append(z_test(own.macro - other.macro, variance))
    return np.stack([z for z, _ in tests]), np.stack([p for _, p in tests])


def _rows(models: str, n: int, hits: Hits) -> Iterator[dict[str, str | int | float]]:
    for (what, name, method), found in hits.items():
        values = np.array(found, dtype=float)
        printed = values[~np.isnan(values)]
        rate = printed.mean() if len(printed) else np.nan
        metric, of_class = split_name(name)
        yield {
            "models": models,
            "n": n,
            "what": what,
            "metric": metric,
            "class": of_class,
            "method": method,
            "rate": round(rate, 4),
            "standard_error": round(np.sqrt(rate * (1 - rate) / max(len(printed), 1)), 4),
            "printed": round(len(printed) / len(values), 4),
            "verdict": verdict(what, method, rate),
        }


def verdict(what: str, method: str, rate: float) -> str:
    """Judge a rate: "ok" within `BOUNDS`; nothing of what no table claims."""
    if method in ("before", "procedure") or np.isnan(rate):
        return ""
    low, high = BOUNDS[what.split(maxsplit=1)[0]]
    names = ("too narrow", "wide") if what.startswith("coverage") else ("rejects too rarely", "rejects too often")
    return names[0] if rate < low else names[1] if rate > high else "ok"


def header(replicates: int, draws: int, workers: int, seconds: float) -> str:
    """Describe the making of the table in comment lines."""
    machine = hardware()
    versions = ", ".join(f"{k} {v}" for k, v in installed_versions().items() if v != "not installed")
    return "".join(
        f"# {line}\n"
        for line in (
            f"{shlex.join(['python', 'experiments/evidence_calibration.py', *sys.argv[1:]])}",
            f"{replicates} replicates, {draws} resamples each, {seconds:.0f} s with {workers} workers",
            f"{machine.processor}, {machine.memory_gib} GiB, {machine.system}; {versions}",
            f"{datetime.now(UTC):%Y-%m-%d}",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--draws", type=int, default=500, help="bootstrap resamples per replicate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    start = perf_counter()
    with threadpool_limits(1):
        table = calibrate(
            replicates=options.replicates, draws=options.draws, seed=options.seed, workers=options.workers
        )
    top = header(options.replicates, options.draws, options.workers, perf_counter() - start)
    write_text(options.out, top + table.to_csv(index=False))
    from evidence_page import write_page  # beside this file, which is a script

    write_page(options.out)
    judged = table[table["verdict"] != ""]
    print(pd.crosstab([judged["what"], judged["models"], judged["n"]], judged["verdict"]).to_string())
    print(f"Wrote {options.out} and its page")


if __name__ == "__main__":
    main()
