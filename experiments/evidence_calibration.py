"""Is the evidence itself right? Coverage of the 95 % intervals and rejection rates of the tests, on simulated models.

Question  Do intervals hold the true value 95 times in 100, and do tests reject 5 times in 100 where nothing differs?
Command   python experiments/evidence_calibration.py [--replicates 1000]
Time      about 9 minutes on one core with 1,000 replicates; the kept table has 2,000
Expect    coverage from 0.935 to 0.965 and rejection from 0.04 to 0.06; benchmarks/evidence_calibration.md names what
          falls outside, and why

Two models see each patient through logits = skill x true class + noise; a part of the noise is the patient's and shared
by both. "same": equal skill, so no difference is true. "apart": model b is better. The true value of every metric is
that of a million simulated patients with the same shares of classes.
"""

import argparse
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from fusion_ln.evaluation.delong import delong
from fusion_ln.evaluation.intervals import name_columns, resample
from fusion_ln.evaluation.significance import mcnemar, permutation_test
from fusion_ln.files import write_text
from fusion_ln.metrics import score
from fusion_ln.predictions import Predictions, predictions_from_logits
from fusion_ln.progress import progress
from fusion_ln.records import hardware, installed_versions

CLASSES = ("benign", "lymphoma", "metastatic")
SHARES = (0.28, 0.21, 0.51)  # of the paper's 586 patients
SKILLS = {"same": (1.6, 1.6), "apart": (1.4, 1.9)}  # macro AUC about 0.87; 0.84 and 0.91
SHARED_NOISE = 0.5  # part of the noise's variance
SIZES = (150, 586)
TRUTH_PATIENTS = 1_000_000
BOUNDS = {"coverage": (0.935, 0.965), "rejection": (0.04, 0.06)}
TABLE = Path(__file__).parent / "benchmarks" / "evidence_calibration.csv"


def simulate(n: int, skills: tuple[float, float], rng: np.random.Generator) -> tuple[Predictions, Predictions]:
    """Two models' predictions of the same ``n`` patients; class counts are the shares, rounded."""
    cuts = np.round(np.cumsum(SHARES) * n).astype(int)
    labels = np.searchsorted(cuts, np.arange(n), side="right")
    patients = [f"P{i:07d}" for i in range(n)]
    shared = np.sqrt(SHARED_NOISE) * rng.normal(size=(n, 3))
    a, b = (
        skill * np.eye(3)[labels] + shared + np.sqrt(1 - SHARED_NOISE) * rng.normal(size=(n, 3)) for skill in skills
    )
    folds = np.arange(n) % 5
    return (
        predictions_from_logits(CLASSES, patients, folds, labels, a),
        predictions_from_logits(CLASSES, patients, folds, labels, b),
    )


def true_values(skills: tuple[float, float]) -> pd.DataFrame:
    """``metric, class, a, b`` of a very large sample."""
    a, b = (score(m.labels, m.probs, CLASSES) for m in simulate(TRUTH_PATIENTS, skills, np.random.default_rng(2)))
    return name_columns(tuple(a)).assign(a=[v[0] for v in a.values()], b=[v[0] for v in b.values()])


def replicate(models: tuple[Predictions, Predictions], truth: pd.DataFrame, *, draws: int, seed: int) -> pd.DataFrame:
    """What each method said of one simulated cohort: ``metric, class, what, method, hit``.

    ``hit`` is whether an interval held the truth, or whether a test rejected at 0.05.
    """
    a, b = resample(list(models), n_resamples=draws, seed=seed)
    results = []
    for what, resampled, target in (
        ("coverage of a metric", a, truth["a"].to_numpy()),
        ("coverage of a difference", a.minus(b), (truth["a"] - truth["b"]).to_numpy()),
    ):
        intervals = {"BCa": resampled.bca_interval(), "percentile": resampled.percentile_interval()}
        for method, (low, high) in intervals.items():
            held = (low <= target) & (target <= high)
            results.append(truth[["metric", "class"]].assign(what=what, method=method, hit=held))
    by_delong = delong(*models).assign(metric="auc")
    target = truth.loc[truth["metric"] == "auc", "a"].to_numpy()
    held = (by_delong["a_low"] <= target) & (target <= by_delong["a_high"])
    results.append(by_delong[["metric", "class"]].assign(what="coverage of a metric", method="DeLong", hit=held))

    rejected = {"bootstrap": a.minus(b).p_value() < 0.05}
    rejected["permutation"] = permutation_test(*models, n_permutations=draws, seed=seed)["permutation_p"] < 0.05
    for method, hit in rejected.items():
        results.append(truth[["metric", "class"]].assign(what="rejection", method=method, hit=hit))
    results.append(by_delong[["metric", "class"]].assign(what="rejection", method="DeLong", hit=by_delong["p"] < 0.05))
    accuracy = mcnemar(*models)
    p_values = {"McNemar": accuracy.p, "McNemar, continuity corrected": accuracy.p_corrected}
    rows = [("accuracy", "all", "rejection", method, p < 0.05) for method, p in p_values.items()]
    return pd.concat([*results, pd.DataFrame(rows, columns=results[0].columns)], ignore_index=True)


def calibrate(*, replicates: int, draws: int, seed: int, sizes: tuple[int, ...] = SIZES) -> pd.DataFrame:
    """How often each method hit: ``models, n, what, metric, class, method, rate, standard_error, verdict``.

    The verdict is "ok" within `BOUNDS`. Rejection of a true difference is power, which has no bounds and no verdict.
    """
    keys = ["models", "n", "what", "metric", "class", "method"]
    summaries = []
    for models, skills in SKILLS.items():
        truth = true_values(skills)
        for n in sizes:
            hits: pd.Series | float = 0.0
            with progress(f"{models}, {n} patients", replicates) as step:
                for number in range(replicates):
                    simulated = simulate(n, skills, np.random.default_rng([seed, n, number]))
                    found = replicate(simulated, truth, draws=draws, seed=number)
                    hits = hits + found["hit"].astype(float)
                    step("")
            rate = hits / replicates
            error = np.sqrt(rate * (1 - rate) / replicates)
            columns = found.drop(columns="hit").assign(models=models, n=n, rate=rate, standard_error=error)
            summaries.append(columns)
    table = pd.concat(summaries, ignore_index=True)
    table["verdict"] = [verdict(*row) for row in table[["models", "what", "rate"]].itertuples(index=False)]
    return table[[*keys, "rate", "standard_error", "verdict"]].round(5)


def verdict(models: str, what: str, rate: float) -> str:
    kind = what.split(maxsplit=1)[0]
    if kind == "rejection" and models == "apart":
        return ""
    low, high = BOUNDS[kind]
    below, above = {"coverage": ("too narrow", "too wide"), "rejection": ("rejects too rarely", "rejects too often")}[
        kind
    ]
    return below if rate < low else above if rate > high else "ok"


def header(replicates: int, draws: int, seconds: float) -> str:
    """How the table came about, as comment lines."""
    machine = hardware()
    versions = ", ".join(f"{k} {v}" for k, v in installed_versions().items() if v != "not installed")
    return "".join(
        f"# {line}\n"
        for line in (
            f"{shlex.join(['python', 'experiments/evidence_calibration.py', *sys.argv[1:]])}",
            f"{replicates} replicates, {draws} resamples and permutations each, {seconds:.0f} s on one core",
            f"{machine.processor}, {machine.memory_gib} GiB, {machine.system}; {versions}",
            f"{datetime.now(UTC):%Y-%m-%d}",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap resamples and permutations per replicate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    start = datetime.now(UTC)
    with threadpool_limits(1):
        table = calibrate(replicates=options.replicates, draws=options.draws, seed=options.seed)
    seconds = (datetime.now(UTC) - start).total_seconds()
    text = header(options.replicates, options.draws, seconds) + table.to_csv(index=False)
    write_text(options.out, text)
    judged = table[table["verdict"] != ""]
    print(pd.crosstab([judged["what"], judged["method"], judged["n"]], judged["verdict"]).to_string())
    print(f"Wrote {options.out}")


if __name__ == "__main__":
    main()
