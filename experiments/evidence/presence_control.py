"""Does the presence audit find missing pictures that go with the class, and stay silent where they do not?

Question  Is a planted link found in every one of five seeds, none where none was planted, and how often is one found
          by chance?
Command   python experiments/evidence/presence_control.py
Time      about 10 minutes on two cores
Expect    every seed found with `--missing-link 0.5`, none without; by chance at most 1 in 100 cohorts

Per seed one phantom cohort with three in ten pictures missing, and one in which missing goes with the label. The size
of the test is that of simulated tables of patients and pictures, drawn as the phantom draws them.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from fusion_ln.bench.page import describe_origin
from fusion_ln.cohort.folds import draw_folds
from fusion_ln.cohort.phantom.findings import tables
from fusion_ln.cohort.phantom.patients import draw_patients, draw_present
from fusion_ln.cohort.phantom.simulate import simulate_cohort
from fusion_ln.evaluation.presence import LINKED_BELOW, audit_presence
from fusion_ln.files.formats import write_text
from fusion_ln.progress import progress
from fusion_ln.report.cohort.presence import audit_cohort

MISSING, PATIENTS, IMAGE_SIZE = 0.3, 240, 32
LINKS = (0.0, 0.3, 0.5, 0.8)
SEEDS = (1, 2, 3, 4, 5)
TABLE = Path(__file__).parents[1] / "benchmarks" / "presence_audit.md"


def control(seeds: list[int]) -> pd.DataFrame:
    """One row per phantom cohort."""
    rows = []
    for link in LINKS:
        for seed in seeds:
            with TemporaryDirectory() as folder:
                cohort = simulate_cohort(
                    Path(folder) / "cohort",
                    n_patients=PATIENTS,
                    image_size=IMAGE_SIZE,
                    seed=seed,
                    missing=MISSING,
                    missing_link=link,
                )
                audit = audit_cohort(cohort)
            assert audit is not None
            auc = f"{audit.auc:.3f} ({audit.ci_low:.3f} to {audit.ci_high:.3f})"
            rows.append((link, seed, auc, f"{audit.p:.3f}", "yes" if audit.linked else "no"))
    return pd.DataFrame(rows, columns=["missing link", "seed", "AUC", "p", "found"])


def p_values(n: int) -> np.ndarray:
    """p-values of tables of patients whose missing pictures go with nothing."""
    found = []
    with progress("Tables without a link", n) as step:
        for number in range(n):
            rng = np.random.default_rng([7, number])
            patients = draw_patients(PATIENTS, ["A", "B", "C"], rng)
            labels = patients["label"].to_numpy()
            views = pd.DataFrame(draw_present(labels, MISSING, 0.0, rng).astype(int), columns=tables().modalities)
            folds = draw_folds(patients, seed=number)["fold"].to_numpy()
            audit = audit_presence(
                views, labels, folds, tables().classes, n_permutations=499, n_resamples=20, seed=number
            )
            assert audit is not None
            found.append(audit.p)
            step("")
    return np.array(found)


def page(table: pd.DataFrame, p: np.ndarray, seconds: float) -> str:
    """The benchmark's page, in Markdown."""
    lines = ["# The presence audit on cohorts with and without a planted link", "", "Simulated patients.", ""]
    for link, group in table.groupby("missing link", sort=False):
        lines.append(f"- Missing link {link:g}: found in {(group['found'] == 'yes').sum()} of {len(group)} cohorts.")
    lines.append(
        f"- {len(p)} tables of {PATIENTS} patients without a link: p below {LINKED_BELOW} in "
        f"{(p < LINKED_BELOW).mean():.4f} of them, at most 0.05 in {(p <= 0.05).mean():.4f}."
    )
    lines += ["", "| " + " | ".join(table.columns) + " |", "|" + " --- |" * table.shape[1]]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    lines += [
        "",
        f"AUC: macro one-vs-rest AUC of a ridge regression of the class on which pictures exist, out of fold, with its "
        f"95 % bootstrap interval; p by permutation of the classes; found: p below {LINKED_BELOW}.",
        "",
        f"{PATIENTS} patients, {MISSING:.0%} of the pictures missing, five folds. {seconds:.0f} s.",
        describe_origin("numpy", "pandas", "scikit-learn"),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--tables", type=int, default=2000, help="Simulated tables behind the size of the test.")
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    started = time.monotonic()
    table = control(options.seeds)
    write_text(options.out, page(table, p_values(options.tables), time.monotonic() - started))
    print(table.to_string(index=False))
    print(f"Wrote {options.out}")


if __name__ == "__main__":
    main()
