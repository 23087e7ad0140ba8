"""Do the intervals of what one acts on hold? Net benefit, costs, predictive values, calibration, means over seeds.

Question  Do the 95 % intervals that `evidence_calibration.py` does not cover hold the true value 95 times in 100?
Command   python experiments/evidence/decision_coverage.py [--replicates 1000] [--workers 16]
Time      about 50 minutes of one core with 1,000 replicates
Expect    coverage of at least 0.93 in every row (above 0.97: named wide); what falls below gets no interval, and
          benchmarks/decision_coverage.md says so

Two models see each patient through logits = skill x true class + noise; a part of the noise is the patient's and shared
by both, and a part of it by the seeds of a model. Every replicate has one of `SKILLS` for each model; the truth is the
same figure of 60,000 patients. Probabilities are sharper than they should be, so a slope is not 1.
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from fusion_ln.bench.page import describe_origin
from fusion_ln.evaluation.intervals import difference_table, mean_of, resample, split_name
from fusion_ln.evaluation.limits.shares import wilson_of_few
from fusion_ln.evaluation.presence import audit_presence
from fusion_ln.evaluation.probabilities.costs import LEAST_COST, cost_difference, mean_costs, parse_costs
from fusion_ln.evaluation.probabilities.decision import decision_curve, net_benefit_difference
from fusion_ln.evaluation.probabilities.prevalence import figures_at, point_at
from fusion_ln.evaluation.probabilities.recalibration import recalibration
from fusion_ln.files.formats import write_text
from fusion_ln.metrics import METRICS, score
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")
MALIGNANT = CLASSES[1:]
COUNTS = {50: (14, 10, 26), 100: (28, 20, 52), 250: (70, 50, 130), 600: (168, 120, 312)}  # in the same shares
SKILLS = {"recall 0.79": np.linspace(1.9, 2.6, 7), "recall 0.9": np.linspace(2.8, 3.7, 7)}
SHARED, OF_MODEL = 0.5, 0.25  # parts of the noise's variance: of the patient, of the model over its seeds
SHARPNESS = 1.3
SEEDS = 3
THRESHOLDS = (0.1, 0.3, 0.5, 0.8)
PREVALENCE = np.array([0.7, 0.1, 0.2])
COSTS = parse_costs("metastatic:benign=10", CLASSES)
OF_SEEDS = ("auc_ovr", "auc", "accuracy", "recall", "precision", "f1", "mcc")
TRUTH_PATIENTS = 60_000
CHUNK = 50
LEAST, WIDE, SELDOM = 0.93, 0.97, 0.5
TABLE = Path(__file__).parents[1] / "benchmarks" / "decision_coverage.csv"
TRUTHS: dict[tuple[str, int], dict[tuple[str, str], float]] = {}  # by kind of models and skill
Found = dict[tuple[str, str], tuple[float, float, float]]  # value and limits, by figure and of what


def as_predictions(labels: np.ndarray, logits: np.ndarray) -> Predictions:
    patients = [f"P{i:06d}" for i in range(len(labels))]
    return predictions_from_logits(CLASSES, patients, np.arange(len(labels)) % 5, labels, SHARPNESS * logits)


def simulate(labels: np.ndarray, skills: tuple[float, float], rng: np.random.Generator) -> list[list[Predictions]]:
    """Predictions of two models with each of their seeds."""
    size = (len(labels), 3)
    shared = np.sqrt(SHARED) * rng.normal(size=size)
    models = []
    for skill in skills:
        own = shared + np.sqrt(OF_MODEL) * rng.normal(size=size) + skill * np.eye(3)[labels]
        seeds = [np.sqrt(1 - SHARED - OF_MODEL) * rng.normal(size=size) for _ in range(SEEDS)]
        models.append([as_predictions(labels, own + seed) for seed in seeds])
    return models


def figures(a: Predictions, b: Predictions | None) -> Found:
    """Every figure of a model, and of the pair."""
    found: Found = {}
    positive, ends = MALIGNANT, ["ci_low", "ci_high"]
    curve = decision_curve(a, positive).set_index("threshold")
    thresholds = dict.fromkeys(range(5), 0.4)
    for t in THRESHOLDS:
        found["net benefit", f"{t}"] = _row(curve[["net_benefit", *ends]].loc[[t]].iloc[0])
    for _, row in figures_at(a, PREVALENCE).iterrows():
        found[f"{row['metric']} at a prevalence", row["class"]] = _row(row[["value", *ends]])
    for _, row in point_at(a, thresholds, positive, prevalence=PREVALENCE).iterrows():
        found[f"{row['metric']} of a point", "malignant"] = _row(row[["value", *ends]])
    costs = mean_costs(a, COSTS, prevalence=PREVALENCE).set_index("policy")
    found["mean cost", "all"] = _row(costs[["mean_cost", *ends]].loc[[LEAST_COST]].iloc[0])
    for _, row in recalibration(a).iterrows():
        for figure in ("intercept", "slope"):
            found[f"calibration {figure}", row["class"]] = _row(row[[figure, f"{figure}_low", f"{figure}_high"]])
    if b is not None:
        gains = net_benefit_difference(a, b, positive).set_index("threshold")
        for t in THRESHOLDS:
            found["difference in net benefit", f"{t}"] = _row(gains[["difference", *ends]].loc[[t]].iloc[0])
        gap = cost_difference(a, b, COSTS, prevalence=PREVALENCE).iloc[0]
        found["difference in mean cost", "all"] = _row(gap[["difference", *ends]])
    return found


def over_seeds(models: list[list[Predictions]], draws: int) -> Found:
    """Means of a model over its seeds, and differences of two such means."""
    metrics = [metric for metric in METRICS if metric.name in OF_SEEDS]
    drawn = resample(
        [seed for model in models for seed in model],
        n_resamples=draws,
        seed=0,
        metrics=metrics,
        share_limits=wilson_of_few,
    )
    means = mean_of(drawn[:SEEDS]), mean_of(drawn[SEEDS:])
    found: Found = {}
    for _, row in means[0].table().iterrows():
        found[f"{row['metric']} over seeds", row["class"]] = _row(row[["value", "ci_low", "ci_high"]])
    for _, row in difference_table(*means).iterrows():
        ends = _row(row[["difference", "ci_low", "ci_high"]])
        found[f"difference in {row['metric']} over seeds", row["class"]] = ends
    return found


def presence(n: int, replicates: int, draws: int, seed: int) -> list[tuple[float, float, float]]:
    """AUC of the presence audit, and its interval, where patients of one class have fewer pictures."""
    rng, labels = np.random.default_rng([seed, n]), np.repeat(range(3), COUNTS[n])
    shares, found = np.array([[0.9, 0.6], [0.6, 0.6], [0.8, 0.6]])[labels], []
    for _ in range(replicates):
        views = pd.DataFrame((rng.random((n, 2)) < shares).astype(int), columns=["cdfi", "elastic"])
        folds = rng.permutation(n) % 5
        if audit := audit_presence(views, labels, folds, CLASSES, n_permutations=1, n_resamples=draws):
            found.append((audit.auc, audit.ci_low, audit.ci_high))
    return found


def _row(row: pd.Series) -> tuple[float, float, float]:
    value, low, high = (np.nan if each is None else float(each) for each in row)
    return value, low, high


def truth(kind: str, place: int) -> dict[tuple[str, str], float]:
    """Every figure of a skill, of many patients."""
    labels = np.repeat(range(3), np.array(COUNTS[100]) * (TRUTH_PATIENTS // 100))
    skill = SKILLS[kind][place]
    model = simulate(labels, (skill, skill), np.random.default_rng([7, place]))[0][0]
    found = {key: value for key, (value, *_) in figures(model, None).items()}
    scores = score(labels, model.probs, CLASSES, metrics=[metric for metric in METRICS if metric.name in OF_SEEDS])
    for name, values in scores.items():
        metric, of_class = split_name(name)
        found[f"{metric} over seeds", of_class] = float(values[0])
    return found


def replicate(kind: str, n: int, replicates: int, draws: int, seed: int) -> list[tuple[str, str, float]]:
    """Hits of every interval: figure, of what, and 1 hit, 0 missed or NaN for none printed."""
    rng, labels = np.random.default_rng([seed, n, len(kind)]), np.repeat(range(3), COUNTS[n])
    hits = []
    for _ in range(replicates):
        places = rng.integers(0, len(SKILLS[kind]), 2).tolist()
        models = simulate(labels, (SKILLS[kind][places[0]], SKILLS[kind][places[1]]), rng)
        found = figures(models[0][0], models[1][0]) | over_seeds(models, draws)
        true = [TRUTHS[kind, place] for place in places]
        for (figure, of), (_, low, high) in found.items():
            name = figure.removeprefix("difference in ")
            target = true[0][name, of] - (true[1][name, of] if name != figure else 0)
            hits.append((figure, of, np.nan if np.isnan(low) else float(low <= target <= high)))
    return hits


def coverage(*, replicates: int, draws: int, workers: int, sizes: tuple[int, ...] = tuple(COUNTS)) -> pd.DataFrame:
    """``models, n, figure, of, rate, standard_error, printed, verdict``."""
    fork, hits = get_context("fork"), dict[tuple[str, int, str, str], list[float]]()
    with ProcessPoolExecutor(workers, mp_context=fork) as pool:
        keys = [(kind, place) for kind, skills in SKILLS.items() for place in range(len(skills))]
        TRUTHS.update(zip(keys, pool.map(truth, *zip(*keys, strict=True)), strict=True))
    chunks = [(min(CHUNK, replicates - start), start) for start in range(0, replicates, CHUNK)]
    with ProcessPoolExecutor(workers, mp_context=fork) as pool:  # forked once more: the truths are known
        tasks = [(kind, n, part, start) for n in reversed(sizes) for kind in SKILLS for part, start in chunks]
        done = [(kind, n, pool.submit(replicate, kind, n, part, draws, start)) for kind, n, part, start in tasks]
        audits = {n: [pool.submit(presence, n, part, draws, start) for part, start in chunks] for n in sizes}
        for kind, n, future in done:
            for figure, of, hit in future.result():
                hits.setdefault((kind, n, figure, of), []).append(hit)
        for n, futures in audits.items():
            values = np.array([row for future in futures for row in future.result()])
            held = (values[:, 1] <= values[:, 0].mean()) & (values[:, 0].mean() <= values[:, 2])
            hits["a link", n, "presence AUC, the procedure", "all"] = held.astype(float).tolist()
    return pd.DataFrame(_rows(hits)).sort_values(["figure", "of", "models", "n"], ignore_index=True)


def _rows(hits: dict[tuple[str, int, str, str], list[float]]) -> Iterator[dict[str, str | int | float]]:
    for (models, n, figure, of), found in hits.items():
        values = np.array(found)
        printed = values[~np.isnan(values)]
        rate = float(printed.mean()) if len(printed) else np.nan
        error = np.sqrt(rate * (1 - rate) / max(len(printed), 1))
        named = "too narrow" if rate < LEAST else "wide" if rate > WIDE else "ok"
        named = "" if np.isnan(rate) else "seldom" if len(printed) < SELDOM * len(values) else named
        yield {
            "models": models, "n": n, "figure": figure, "of": of, "rate": round(rate, 4),
            "standard_error": round(error, 4), "printed": round(len(printed) / len(values), 4), "verdict": named,
        }  # fmt: skip


def page(table: pd.DataFrame, replicates: int, draws: int, workers: int, seconds: float) -> str:
    """The kept page: by figure the lowest and the highest rate at each size, and what falls below."""
    lines = [
        "# Coverage of the intervals of what one acts on\n",
        describe_origin("numpy", "scipy", "pandas"),
        f"{replicates:,} replicates a row, {draws} resamples, {seconds:.0f} s with {workers} workers.",
        f"Rates over classes, thresholds ({', '.join(map(str, THRESHOLDS))}) and both kinds of models (recall 0.79 and "
        "0.9); all of them in `decision_coverage.csv`.\n",
        f"| 95 % interval of | {' | '.join(f'n = {n}' for n in sorted(table['n'].unique()))} |",
        "| --- |" + " --- |" * table["n"].nunique(),
    ]
    shown, seldom = table[table["verdict"] != "seldom"], table[table["verdict"] == "seldom"]
    for figure, rows in shown.groupby("figure", sort=True):
        cells = [_range(rows[rows["n"] == n]) for n in sorted(table["n"].unique())]
        lines.append(f"| {figure} | {' | '.join(cells)} |")
    below = table[table["verdict"] == "too narrow"]
    lines.append(f"\nOf {int(shown['rate'].notna().sum())} rates {len(below)} lie below {LEAST}.\n")
    lines += [*map(_describe, below.itertuples()), ""] if len(below) else []
    lines.append(
        f"Printed in fewer than {SELDOM:.0%} of the cohorts, so not counted: an interval that needs errors is printed "
        f"where more of them were made than the model makes.\n"
    )
    lines += map(_describe, seldom.itertuples())
    return "\n".join(lines) + "\n"


def _describe(row: Any) -> str:
    return (
        f"- {row.figure}, {row.of}, {row.models}, n = {row.n}: {row.rate} (standard error {row.standard_error}, "
        f"printed in {row.printed})"
    )


def _range(rows: pd.DataFrame) -> str:
    rates = rows["rate"].dropna()
    return f"{rates.min():.3f} to {rates.max():.3f}" if len(rates) else "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=300, help="resamples where an interval is a bootstrap's")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", choices=COUNTS, default=list(COUNTS))
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    start = perf_counter()
    with threadpool_limits(1):
        table = coverage(
            replicates=options.replicates, draws=options.draws, workers=options.workers, sizes=tuple(options.sizes)
        )
    write_text(options.out, table.to_csv(index=False))
    text = page(table, options.replicates, options.draws, options.workers, perf_counter() - start)
    write_text(options.out.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
