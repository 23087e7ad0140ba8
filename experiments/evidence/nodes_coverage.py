"""Do intervals and tests hold where patients have several nodes whose results go together?

Question  Do the 95 % intervals of figures of nodes hold the true value 95 times in 100, and do DeLong's and McNemar's
          tests in their clustered forms (Obuchowski 1997, 1998) reject equal models 5 times in 100?
Command   python experiments/evidence/nodes_coverage.py [--replicates 400] [--only areas|differences|shares|calibration]
Time      about 50 minutes of one core, of which `areas` 3 and `differences` 30
Expect    ours 0.95 on average and 0.93 but for chance in every row (the standard error of a rate of 400 replicates is
          0.011), less for those that take nodes for patients; tests of ours reject in at most 0.06, the others more
          often

A patient has one to five nodes; most share a class. Two models see each node through logits = skill x true class +
noise, of whose variance a share is the patient's (the same in all nodes), and half of either part is shared by the
models. The truth is the same figure of 100,000 patients.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from simulation import run_jobs

from fusion_ln.bench.page import describe_origin
from fusion_ln.evaluation.delong import delong
from fusion_ln.evaluation.intervals import difference_table, resample, split_name
from fusion_ln.evaluation.limits.metrics import closed_limits
from fusion_ln.evaluation.limits.shares import Limits
from fusion_ln.evaluation.probabilities.recalibration import recalibration
from fusion_ln.evaluation.significance import mcnemar
from fusion_ln.files.formats import write_text
from fusion_ln.metrics import METRICS, Metric, score
from fusion_ln.predictions import Predictions, predictions_from_logits
from fusion_ln.terms import PATIENT

CLASSES = ("benign", "lymphoma", "metastatic")
SHARES = np.array([0.4, 0.2, 0.4])  # of the classes, among patients
NODES = np.array([0.35, 0.25, 0.2, 0.1, 0.1])  # chance of one to five nodes
ALIKE = 0.75  # chance that a node has the class of its patient
SIZES, PARTS = (60, 120, 250), (0.5, 0.8)  # patients; share of the noise that is the patient's
SKILLS = {"recall about 0.75": 2.2, "recall about 0.9": 3.4}
AREAS = [metric for metric in METRICS if metric.name in ("auc_ovr", "auc_ovo", "auc")]  # need no resamples
SHARES_ETC = [m for m in METRICS if m.name in ("accuracy", "precision", "recall", "f1", "mcc")]
FIGURES = [*AREAS, *SHARES_ETC]
OURS, NAIVE = "by patient", "nodes as patients"
TRUTH_PATIENTS, CHUNK = 100_000, 20
CALIBRATION = ("intercept", "slope")
LEAST = 0.93
TABLE = Path(__file__).parents[1] / "benchmarks" / "nodes_coverage.csv"
Job = tuple[str, int, float, int, int, int]  # kind of models, patients, part, replicates, draws, seed
Hit = tuple[str, int, float, str, str, str, float]  # ..., way, figure, of what, 1 for a hit or a rejection


def simulate(n: int, part: float, skill: float, rng: np.random.Generator) -> list[Predictions]:
    """Predictions of two models of one skill."""
    owners = np.repeat(np.arange(n), 1 + rng.choice(len(NODES), n, p=NODES))
    own = rng.permutation(np.searchsorted(SHARES.cumsum()[:-1], (np.arange(n) + 0.5) / n))
    labels = np.where(rng.random(len(owners)) < ALIKE, own[owners], rng.choice(3, len(owners), p=SHARES))
    names = [f"P{owner:06d}::{node:07d}" for node, owner in enumerate(owners)]

    def noise() -> np.ndarray:
        of_patients, own = rng.normal(size=(n, 3))[owners], rng.normal(size=(len(owners), 3))
        mixed: np.ndarray = np.sqrt(part) * of_patients + np.sqrt(1 - part) * own
        return mixed

    shared = noise()
    return [
        predictions_from_logits(
            CLASSES, names, owners % 5, labels, skill * np.eye(3)[labels] + np.sqrt(0.5) * (shared + noise())
        )
        for _ in range(2)
    ]


def as_patients(predictions: Predictions) -> Predictions:
    """The same, each node under a name of its own."""
    names = predictions.table[PATIENT].str.replace("::", "-")
    return Predictions(predictions.classes, predictions.table.assign(**{PATIENT: names}))


@cache
def truth(kind: str, part: float) -> dict[str, float]:
    model = simulate(TRUTH_PATIENTS, part, SKILLS[kind], np.random.default_rng([9, int(10 * part)]))[0]
    return {name: float(v[0]) for name, v in score(model.labels, model.probs, CLASSES, metrics=FIGURES).items()}


def replicate(job: Job, figures: Sequence[Metric] = SHARES_ETC) -> list[Hit]:
    kind, n, part, replicates, draws, seed = job
    rng, true, hits = np.random.default_rng([seed, n, int(10 * part), len(kind)]), truth(kind, part), list[Hit]()
    for _ in range(replicates):
        models = simulate(n, part, SKILLS[kind], rng)
        drawn = resample(models, n_resamples=draws if figures is SHARES_ETC else 2, seed=0, metrics=figures)
        columns = ["metric", "class", "ci_low", "ci_high"]
        for metric, of, a, b in difference_table(*drawn)[columns].itertuples(index=False):
            hit = np.nan if np.isnan(a) else float(a <= 0 <= b)
            hits.append((kind, n, part, OURS, f"difference in {metric}", of, hit))
        if figures is not SHARES_ETC:
            continue
        for way, pair in ((OURS, models), (NAIVE, [as_patients(each) for each in models])):
            limits = drawn[0].interval if way == OURS else limits_of(pair[0], figures)
            hits += _hits(kind, n, part, way, drawn[0].names, limits, true)
            hits.append((kind, n, part, way, "McNemar rejects", "all", float(mcnemar(*pair).p < 0.05)))
    return hits


def replicate_differences(job: Job) -> list[Hit]:
    """Differences in AUC, whose correlation takes all patients left out one by one."""
    return replicate(job, AREAS)


def replicate_areas(job: Job) -> list[Hit]:
    kind, n, part, replicates, _, seed = job
    rng, true, hits = np.random.default_rng([seed, n, int(10 * part), len(kind)]), truth(kind, part), list[Hit]()
    names = [name for metric in AREAS for name in metric.titles(CLASSES)]
    for _ in range(replicates):
        models = simulate(n, part, SKILLS[kind], rng)
        for way, pair in ((OURS, models), (NAIVE, [as_patients(each) for each in models])):
            hits += _hits(kind, n, part, way, names, limits_of(pair[0], AREAS), true)
            p = float(delong(*pair).iloc[-1]["p"])
            hits.append((kind, n, part, way, "DeLong rejects", "macro", float(p < 0.05)))
    return hits


def limits_of(model: Predictions, figures: Sequence[Metric]) -> Limits:
    """Compute the limits that need no resamples."""
    return closed_limits(model.labels, model.probs, CLASSES, figures, clusters=model.clusters)


def _hits(
    kind: str, n: int, part: float, way: str, names: Sequence[str], limits: Limits, true: dict[str, float]
) -> list[Hit]:
    ends = zip(names, *limits, strict=True)
    return [
        (kind, n, part, way, *split_name(name), np.nan if np.isnan(a) else float(a <= true[name] <= b))
        for name, a, b in ends
    ]


@cache
def calibration_truth(kind: str, part: float) -> dict[tuple[str, str], float]:
    model = simulate(TRUTH_PATIENTS, part, SKILLS[kind], np.random.default_rng([9, int(10 * part)]))[0]
    table = recalibration(model).set_index("class")
    return {(figure, of): float(table[figure][of]) for figure in CALIBRATION for of in CLASSES}


def replicate_calibration(job: Job) -> list[Hit]:
    kind, n, part, replicates, _, seed = job
    rng, hits = np.random.default_rng([seed, n, int(10 * part), len(kind), 1]), list[Hit]()
    for _ in range(replicates):
        model = simulate(n, part, SKILLS[kind], rng)[0]
        for way, each in ((OURS, model), (NAIVE, as_patients(model))):
            table = recalibration(each).set_index("class")
            for (figure, of), true in calibration_truth(kind, part).items():
                low, high = table[f"{figure}_low"][of], table[f"{figure}_high"][of]
                hit = np.nan if low is None else float(low <= true <= high)
                hits.append((kind, n, part, way, f"calibration {figure}", of, hit))
    return hits


def coverage(of: Callable[[Job], list[Hit]], replicates: int, draws: int, workers: int) -> pd.DataFrame:
    """``models, n, part, way, figure, of, rate, printed``: rates of intervals that hold, and of tests that reject."""
    jobs = [
        (kind, n, part, min(CHUNK, replicates - start), draws, start)
        for n in SIZES
        for kind in SKILLS
        for part in PARTS
        for start in range(0, replicates, CHUNK)
    ]
    hits = [hit for of_job in run_jobs(of, jobs, workers, "Replicates") for hit in of_job]
    keys = ["models", "n", "part", "way", "figure", "of"]
    by = pd.DataFrame(hits, columns=[*keys, "rate"]).groupby(keys, sort=False)["rate"]
    return pd.DataFrame({"rate": by.mean().round(4), "printed": by.apply(lambda v: v.notna().mean())}).reset_index()


def page(table: pd.DataFrame, replicates: int, draws: int, seconds: float, only: str | None = None) -> str:
    """The kept page: by figure the lowest and highest rate of either way; ``only`` names the pass if it was one."""
    table = table[table["printed"] >= 0.5]
    kept = f" Measured now: {only}; the other rows are those of an earlier run of this script." if only else ""
    lines = [
        "# Coverage where patients have several nodes\n",
        describe_origin("numpy", "scipy", "pandas"),
        f"{replicates} replicates a row, {draws} resamples, {seconds:.0f} s. Rates over {', '.join(map(str, SIZES))} "
        f"patients, {' and '.join(SKILLS)}, {' and '.join(map(str, PARTS))} of the noise being the patient's; "
        f"all of them in `nodes_coverage.csv`. The standard error of a rate of 0.95 is "
        f"{np.sqrt(0.95 * 0.05 / replicates):.3f}.{kept} Load of the machine at the end: {os.getloadavg()[0]:.1f}.\n",
        f"| 95 % interval of, or test | {OURS} | {NAIVE} |",
        "| --- | --- | --- |",
    ]
    for figure, rows in table.groupby("figure", sort=False):
        lines.append(f"| {figure} | {' | '.join(_range(rows[rows['way'] == way]['rate']) for way in (OURS, NAIVE))} |")
    intervals = table[~table["figure"].str.endswith("rejects")]
    for way, rows in intervals.groupby("way", sort=False):
        below = rows[rows["rate"] < LEAST]
        lines.append(f"\nOf {len(rows)} rates of intervals {way}, {len(below)} lie below {LEAST}.")
        if way == OURS:
            lines += [
                f"- {r.figure}, {r.of}, {r.models}, n = {r.n}, part {r.part}: {r.rate}" for r in below.itertuples()
            ]
    return "\n".join(lines) + "\n"


def _range(rates: pd.Series) -> str:
    return f"{rates.min():.3f} to {rates.max():.3f}" if len(rates) else "-"


PASSES = {
    "areas": replicate_areas,
    "differences": replicate_differences,
    "shares": replicate,
    "calibration": replicate_calibration,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--draws", type=int, default=300, help="resamples where an interval is a bootstrap's")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", choices=PASSES, help="leave the rows of the others as they are in the table")
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    start, passes = perf_counter(), [options.only] if options.only else list(PASSES)
    counts = options.replicates, options.draws, options.workers
    table = pd.concat([coverage(PASSES[name], *counts) for name in passes])
    if options.only and options.out.is_file():
        held = pd.read_csv(options.out)
        table = pd.concat([held[~held["figure"].isin(set(table["figure"]))], table])
    write_text(options.out, table.to_csv(index=False))
    text = page(table, options.replicates, options.draws, perf_counter() - start, options.only)
    write_text(options.out.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
