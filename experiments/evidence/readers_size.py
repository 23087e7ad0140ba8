"""Size and power of the test of a stand-alone model against readers, on simulated readers and patients.

Question  Does the test reject 5 times in 100 where the model equals the mean of the readers it may meet?
Command   python experiments/evidence/readers_size.py [--replicates 2000] [--workers 16]
          python experiments/evidence/readers_size.py --again   (rows outside alone, from the table that is there)
Time      about 12 minutes on one core with 2,000 replicates, as long again for the rows outside
Expect    rejection from 0.03 to 0.06 with 3 to 10 readers; benchmarks/readers_size.md names what falls outside

The extremes of a hundred rows lie outside by chance, too: rows that fall outside are measured once more, from other
seeds and with ten times the studies.

Scores follow Roe & Metz (1997): separation + reader + patient + (reader x patient). The model sees the same patients
with noise of its own, and its separation is such that its true AUC, or its threshold such that its true sensitivity,
equals the mean over all readers. Readers and patients are drawn anew in each replicate.
"""

import argparse
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri
from simulation import run_jobs

from fusion_ln.bench.page import describe_origin
from fusion_ln.evaluation.readers.cases import Cases
from fusion_ln.evaluation.readers.standalone import stand_alone_test, testable
from fusion_ln.files.formats import write_text

KINDS = ("AUC", "AUC in 5 steps", "sensitivity")
READERS = (3, 5, 10)
SIZES = ((20, 40), (50, 100), (300, 286))  # positive and other patients
AUCS = (0.80, 0.92, 0.97)
CUTS = np.array([-0.2, 0.5, 1.0, 1.8])  # of a reader's suspicion
READER_SDS = (0.1, 0.35)  # of a reader's separation
PATIENT_SHARE = 0.3  # of the variance of a score: what all see in the patient
SELDOM, ASKED = 0.5, (0.03, 0.06)
AGAIN, OTHER_SEED = 10, 1000  # times the studies; added to the seeds
COLUMNS = [
    "measure", "figure", "reader_sd", "positive", "others", "readers", "tested", "size", "hillis_size", "median_df",
]  # fmt: skip
Job = tuple[str, float, float, tuple[int, int], int, int, int]  # measure, AUC, SD, patients, readers, studies, seed
TABLE = Path(__file__).parents[1] / "benchmarks" / "readers_size.csv"


def separation(auc: float) -> float:
    """Distance of the classes' means at which scores of variance 1 have this AUC."""
    return float(np.sqrt(2) * ndtri(auc))


def cut_auc(distance: float) -> float:
    """AUC of a score, at this distance of the classes, that is cut to five steps."""
    edges = np.concatenate([[-np.inf], CUTS, [np.inf]])
    others, positive = np.diff(ndtr(edges)), np.diff(ndtr(edges - distance))
    return float(positive @ (others.cumsum() - others / 2))


@cache
def mean_of_readers(kind: str, distance: float, sd: float) -> float:
    """Mean of the readers' true AUCs, over their normal distances (Gauss-Hermite)."""
    at, weights = np.polynomial.hermite_e.hermegauss(31)
    own = cut_auc if kind == "AUC in 5 steps" else (lambda d: float(ndtr(d / np.sqrt(2))))
    return float(np.average([own(distance + sd * x) for x in at], weights=weights))


def draw(kind: str, auc: float, sd: float, n_readers: int, sizes: tuple[int, int], rng: np.random.Generator) -> Cases:
    """Draw the patients' scores by the model and by readers, whose mean true figure is the model's."""
    positive = np.repeat([True, False], sizes)
    distance = separation(auc)
    patient = np.sqrt(PATIENT_SHARE) * rng.normal(size=len(positive))
    noise = np.sqrt(1 - PATIENT_SHARE) * rng.normal(size=(1 + n_readers, len(positive)))
    shift = np.append(0.0, sd * rng.normal(size=n_readers))[:, None]
    if kind == "sensitivity":
        # A reader calls a score above 0 positive: the mean over readers of ndtr(distance / 2 + shift).
        own = distance / 2 / np.sqrt(1 + sd**2)
        means = np.append(own, np.full(n_readers, distance / 2))[:, None] + shift
        calls = (means + patient + noise > 0)[:, positive]
        return Cases("sensitivity", "positive", np.ones(sizes[0], dtype=bool), calls.astype(float))
    own = separation(mean_of_readers(kind, distance, sd))
    means = np.where(positive, np.append(own, np.full(n_readers, distance))[:, None] + shift, 0.0)
    held = means + patient + noise
    if kind == "AUC in 5 steps":
        held[1:] = np.digitize(held[1:], CUTS)
    return Cases("auc", "positive", positive, held)


def measure_size(job: Job) -> list[str | float]:
    """Row of the table: rejection rates where the page prints a test, and how often it does."""
    kind, auc, sd, sizes, n_readers, replicates, seed = job
    rng, found, tested = np.random.default_rng([3, seed]), [], 0
    for _ in range(replicates):
        cases = draw(kind, auc, sd, n_readers, sizes, rng)
        if testable(cases):
            found.append(stand_alone_test(cases.figures, cases.influence, cases.positive))
    tested = len(found)
    rates = [
        sum(p < 0.05 for p in held) / tested if tested else np.nan
        for held in ([test.p for test in found], [test.hillis_p for test in found])
    ]
    df = float(np.median([test.df for test in found])) if found else np.nan
    figure = (
        ndtr(separation(auc) / 2 / np.sqrt(1 + sd**2))
        if kind == "sensitivity"
        else mean_of_readers(kind, separation(auc), sd)
    )
    return [kind, round(float(figure), 3), sd, *sizes, n_readers, tested / replicates, *rates, df]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--again", action="store_true", help="repeat the rows outside alone")
    options = parser.parse_args()
    configurations = list(product(KINDS, AUCS, READER_SDS, SIZES, READERS))
    if options.again:
        table = pd.read_csv(TABLE)
    else:
        jobs = [(*each, options.replicates, seed) for seed, each in enumerate(configurations)]
        table = pd.DataFrame(run_jobs(measure_size, jobs, options.workers, "Sizes"), columns=COLUMNS).round(4)
        write_text(TABLE, table.to_csv(index=False))
    shown = table[table["tested"] >= SELDOM]
    outside = shown[(shown["size"] < ASKED[0]) | (shown["size"] > ASKED[1])]
    jobs = [(*configurations[row], AGAIN * options.replicates, OTHER_SEED + row) for row in outside.index]
    again = pd.DataFrame(run_jobs(measure_size, jobs, options.workers, "Rows outside, again"), columns=COLUMNS)
    outside = outside.assign(again=again["size"].round(4).to_numpy())
    page = render(table, shown, outside, options.replicates)
    write_text(TABLE.with_suffix(".md"), page)
    print(page)


def render(table: pd.DataFrame, shown: pd.DataFrame, outside: pd.DataFrame, replicates: int) -> str:
    """Write the page."""
    still = int(((outside["again"] < ASKED[0]) | (outside["again"] > ASKED[1])).sum())
    lines = [
        "# Size of the test of a model against readers\n",
        describe_origin("numpy", "scipy", "pandas"),
        f"{replicates:,} studies a row, {len(table)} rows (`readers_size.csv`): rejection",
        "at 0.05 where the model's true figure is the mean over all readers, among the studies that get a test. Rows",
        f"in which fewer than {SELDOM:.0%} of the studies get one are not counted: {len(table) - len(shown)}. Outside",
        f"of {ASKED[0]} to {ASKED[1]}: {len(outside)} of {len(shown)} rows; measured again, from other seeds with",
        f"{AGAIN * replicates:,} studies: **{still} of {len(shown)}**.\n",
        "| measure | readers | p of the page: mean (lowest to highest) | p with Hillis' degrees of freedom |",
        "| --- | --- | --- | --- |",
    ]
    for (kind, readers), rows in shown.groupby(["measure", "readers"], sort=False):
        cells = [f"{c.mean():.3f} ({c.min():.3f} to {c.max():.3f})" for c in (rows["size"], rows["hillis_size"])]
        lines.append(f"| {kind} | {readers} | {cells[0]} | {cells[1]} |")
    lines += [
        "",
        "Rows outside, and `again`:",
        "",
        *(f"- {row}" for row in outside.to_string(index=False).splitlines()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
