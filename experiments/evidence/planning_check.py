"""Does a study of the planned size have what was planned? Width of intervals and power, on the phantom's posteriors.

Question  With as many patients as `fusionln plan` says, how wide is the interval, and how often is the gain found?
Command   python experiments/evidence/planning_check.py [--replicates 1000] [--workers 16]
Time      about 6 minutes on one core
Expect    power from 0.80 upwards (0.83 to 0.96 in the kept table: near an AUC of 1 a plan names more patients than
          needed) and widths within 10 % of the target where the plan rests on many patients; a pilot of 240 and
          assumed AUCs miss the width by up to 40 %

The models are the exact posteriors of the phantom's tables, given all modalities or some: their AUCs are known. Plans
rest on a pilot of 4,000 patients, on one of 240 (whose own error is the reader's risk: its gain is planned for as the
true one), or on the true AUCs with the correlation that the pilot has. Classes come in the tables' shares.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from simulation import run_jobs

from fusion_ln.bench.page import describe_origin
from fusion_ln.cohort.phantom.findings import attainable_by_tables, draw_findings, posterior, tables
from fusion_ln.evaluation.delong import MACRO, auc_covariance, z_test
from fusion_ln.evaluation.limits.auc import aucs
from fusion_ln.evaluation.limits.shares import share_interval
from fusion_ln.evaluation.planning.patients import Need, plan_from_assumptions, plan_from_runs
from fusion_ln.evaluation.planning.settings import PlanSettings
from fusion_ln.files.formats import write_text
from fusion_ln.predictions import Predictions, predictions_from_logits

PAIRS = {
    "all against elastic": (("2d", "cdfi", "elastic"), ("elastic",)),
    "2d + cdfi against 2d": (("2d", "cdfi"), ("2d",)),
}
CLASS = "metastatic"
PILOTS = (4000, 240)
TABLE = Path(__file__).parents[1] / "benchmarks" / "planning_check.csv"


def draw(n: int, pair: tuple[tuple[str, ...], ...], rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels of n patients, in the tables' shares, and the exact posteriors given each of the pair (n, C)."""
    cuts = np.round(np.cumsum(tables().prevalence) * n).astype(int)
    labels = np.searchsorted(cuts, np.arange(n), side="right")
    findings = draw_findings(labels, rng)
    return labels, [posterior(findings, modalities).round(12) for modalities in pair]


def pilot(n: int, pair: tuple[tuple[str, ...], ...], rng: np.random.Generator) -> dict[str, Predictions]:
    labels, probs = draw(n, pair, rng)
    names = [f"P{place:05d}" for place in range(n)]
    folds = np.zeros(n, dtype=int)
    logits = [np.log(np.maximum(each, 1e-12)) for each in probs]
    return {
        str(place): predictions_from_logits(tables().classes, names, folds, labels, z) for place, z in enumerate(logits)
    }


def plans(pair: tuple[tuple[str, ...], ...], rng: np.random.Generator) -> dict[str, list[Need]]:
    """Needs for the class, by what they rest on."""
    found = {}
    truth = [attainable_by_tables(modalities)[f"auc_{CLASS}"] for modalities in pair]
    gain = truth[0] - truth[1]
    for n in PILOTS:
        needs = plan_from_runs(pilot(n, pair, rng), PlanSettings(gain=gain, width=0.04))
        found[f"pilot of {n:,}"] = [
            need for need in needs if need.of_class == CLASS or (need.of_class == MACRO and need.aim == "AUC")
        ]
    labels, probs = draw(4000, pair, rng)
    _, covariance = auc_covariance(
        labels == tables().classes.index(CLASS), np.stack([p[:, tables().classes.index(CLASS)] for p in probs])
    )
    correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    share = float(tables().prevalence[tables().classes.index(CLASS)])
    recall = attainable_by_tables(pair[0])[f"recall_{CLASS}"]
    assumed = {
        "auc": truth[0],
        "other_auc": truth[1],
        "correlation": correlation,
        "sensitivity": recall,
        "share": share,
    }
    found["assumptions"] = plan_from_assumptions(PlanSettings(**assumed, width=0.04))
    return found


def reach(job: tuple[str, str, str, int, int, int]) -> float:
    """Mean width of the interval that a page prints, or share of gains found, in studies of the planned size."""
    models, aim, of_class, patients, replicates, seed = job
    rng, c, found = np.random.default_rng([1, seed]), tables().classes.index(CLASS), []
    for _ in range(replicates):
        labels, probs = draw(patients, PAIRS[models], rng)
        if aim == "sensitivity":
            positive = labels == c
            low, high = share_interval(int((probs[0].argmax(1)[positive] == c).sum()), int(positive.sum()))
            found.append(high - low)
        elif aim == "gain":
            auc, covariance = auc_covariance(labels == c, np.stack([each[:, c] for each in probs]))
            _, p = z_test(auc[0] - auc[1], covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
            found.append(float(p < 0.05))
        else:
            ranked = aucs(labels, probs[0])
            ends = ranked.macro_limits if of_class == MACRO else tuple(end[c] for end in ranked.limits)
            found.append(float(ends[1] - ends[0]))
    return float(np.mean(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    needs = [
        (name, basis, need) for name, pair in PAIRS.items() for basis, held in plans(pair, rng).items() for need in held
    ]
    jobs = [
        (name, need.aim, need.of_class, need.patients or 0, options.replicates, seed)
        for seed, (name, _, need) in enumerate(needs)
    ]
    reached = run_jobs(reach, jobs, options.workers, "Plans")
    rows = [
        (name, basis, need.aim, "mean of the classes" if need.of_class == MACRO else CLASS, need.value, need.target,
         need.patients, found)
        for (name, basis, need), found in zip(needs, reached, strict=True)
    ]  # fmt: skip
    columns = ["models", "rests on", "aim", "class", "value", "target", "patients", "reached"]
    table = pd.DataFrame(rows, columns=columns)
    write_text(TABLE, table.round(4).to_csv(index=False))
    text = [
        "# Plans checked by simulation\n",
        describe_origin("numpy", "scipy", "pandas"),
        f"{options.replicates:,} studies a row, class {CLASS} of the phantom's tables. Reached: "
        "the mean width of the interval that a report prints, or the share of studies that find the gain.\n",
        "| models | the plan rests on | aim | class | AUC, gain or sensitivity | target | patients | reached |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(f"| {a} | {b} | {c} | {d} | {e:.3f} | {f} | {g:,} | {h:.3f} |" for a, b, c, d, e, f, g, h in rows),
    ]
    write_text(TABLE.with_suffix(".md"), "\n".join(text) + "\n")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
