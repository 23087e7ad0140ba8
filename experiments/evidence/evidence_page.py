"""The kept page of `evidence_calibration.py`: its table in ranges, and what falls outside.

Command   python experiments/evidence/evidence_page.py [TABLE]
Time      a second
"""

import sys
from pathlib import Path

import pandas as pd

TABLE = Path(__file__).parents[1] / "benchmarks" / "evidence_calibration.csv"
LEAST, WIDE = 0.93, 0.97
FIGURES = {
    ("auc_ovr", True): "AUC, macro",
    ("auc_ovo", True): "AUC, one vs one",
    ("auc", False): "AUC of a class",
    ("recall", False): "recall of a class",
    ("recall", True): "recall, macro",
    ("precision", False): "precision of a class",
    ("precision", True): "precision, macro",
    ("accuracy", True): "accuracy",
    ("f1", True): "F1, macro",
    ("f1", False): "F1 of a class",
    ("mcc", True): "MCC",
    ("brier", True): "Brier score",
    ("log_loss", True): "log loss",
}
OF_TESTS = ("recall 0.65", "same", "recall 0.9", "recall 0.95")
TOP = """# Is the evidence itself right?

`evidence_calibration.csv` holds how often each 95 % interval held the true value and how often tests rejected at 0.05,
on simulated cohorts. Kinds: recall of 0.79, 0.9 and 0.945, two models alike or apart, 30 (10 a class), 100, 150 and 586
patients; each replicate draws its recall from a range of 0.1 (0.09 near 1). "none": no interval is printed. "Before":
BCa for a metric and the percentile interval for a difference, at n = 100; of AUC and accuracy it was not run again.
"""
UNSTABLE = """
The unstable learner (five nearest-centroid fits per model) shows why pages say "given these trainings": of the
procedure the same intervals hold far less often. The calibration error has no interval. Net benefit, costs, figures at
a prevalence, calibration and means over seeds: `decision_coverage.md`.
"""
RARE = """
"swaps" is the printed test of AUCs: the two models' answers are swapped within patients, DeLong's z is the statistic.
"DeLong" is that z with its normal p, which tables of files hold beside. Holm's families and the intersection-union test
take the printed p. At n = 586 the tests have 400 replicates (standard error at 0.05: 0.011): the rates above 0.06 there
are chance, 2,400 replicates of a recall of 0.9 from other seeds by the same functions gave 0.045 to 0.055 (classes)
and 0.053 (mean AUC). Below 0.04 lie single classes, and McNemar's test, where few patients tell the models apart.

Why DeLong's tests reject too rarely at recalls of 0.9 and above: the difference rests on the few patients whom one
model alone misplaces, and |z| cannot pass the square root of their effective number (a median of 5 at n = 60 and recall
0.9, of 3 at 0.945). It is not the variance: DeLong's is 10 to 15 % too large there, and its unbiased form (less the
interaction of the two samples) moves the rate at n = 60 from 0.011 to 0.019 only. `auc_tests.md` has the printed test
on more kinds of models, and what is left of this: a class of which hardly anyone is misplaced.

What this does not show: other noise than the normal, and what other seeds and folds would give (`repeats`).
"""


def page(table: pd.DataFrame, made: list[str]) -> str:
    """Write the page of a table; ``made`` are the lines on its making."""
    printed = table[table["method"].isin(["printed", "these trainings"]) & table["rate"].notna()]
    narrow, wide = printed[printed["rate"] < LEAST], (printed["rate"] > WIDE).mean()
    lines = [TOP, *(f"- {line}" for line in made), ""]
    lines += [
        "| Interval of a | Figure | before, n = 100 | n = 30 | n = 100 | n = 150 | n = 586 | unstable, these trainings "
        "| unstable, the procedure |",
        "| --- " * 9 + "|",
    ]
    for what in ("metric", "difference"):
        own = table[table["what"] == f"coverage of a {what}"]
        for (metric, overall), title in FIGURES.items():
            rows = own[(own["metric"] == metric) & ((own["class"] == "all") == overall)]
            stable = rows[rows["method"] == "printed"]
            cells = [_range(rows[(rows["method"] == "before") & (rows["n"] == 100)])]
            cells += [_range(stable[stable["n"] == n]) for n in (30, 100, 150, 586)]
            cells += [_range(rows[rows["method"] == method]) for method in ("these trainings", "procedure")]
            lines.append(f"| {what} | {title} | {' | '.join(cells)} |")
    lines.append(f"\nAsked for: at least {LEAST}. Of {len(printed)} rates {len(narrow)} lie below,")
    lines.append(f"{wide:.0%} above {WIDE}.\n")
    lines += [
        f"- {row['models']}, n = {row['n']}, {row['what']}: {row['metric']}, {row['class']}: {row['rate']} "
        f"(standard error {row['standard_error']})"
        for row in narrow.to_dict("records")
    ]
    lines += [UNSTABLE, "| Test | n | recall 0.65 | 0.79 | 0.9 | 0.945 |", "| --- " * 6 + "|"]
    tests = table[table["what"].isin(["rejection", "family"])]
    for (method, n), rows in tests.groupby(["method", "n"], sort=False):
        by_models = [_range(rows[rows["models"] == models]) for models in OF_TESTS]
        lines.append(f"| {method} | {n} | {' | '.join(by_models)} |")
    return "\n".join([*lines, RARE])


def _range(rows: pd.DataFrame) -> str:
    rates = rows["rate"].dropna()
    if not len(rates):
        return "none"
    ends = [f"{end:.3f}" for end in (rates.min(), rates.max())]
    return ends[0] if len(rates) == 1 else " to ".join(ends)


def write_page(path: Path) -> Path:
    """Write the page beside a table; returns its path."""
    made = [line[2:].strip() for line in path.read_text().splitlines() if line.startswith("# ")]
    table = pd.read_csv(path, comment="#", keep_default_na=False)
    text = page(table.assign(rate=pd.to_numeric(table["rate"], errors="coerce")), made)
    path.with_suffix(".md").write_text(text)
    return path.with_suffix(".md")


if __name__ == "__main__":
    print(f"Wrote {write_page(Path(sys.argv[1]) if len(sys.argv) > 1 else TABLE)}")
