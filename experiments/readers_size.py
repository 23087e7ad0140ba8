"""Size and power of the test of a stand-alone model against readers, on simulated readers and patients.

Question  Does the test reject 5 times in 100 where the model equals the mean of the readers it may meet?
Command   python experiments/readers_size.py [--replicates 2000]
Time      about 2 minutes on one core with 2,000 replicates
Expect    rejection from 0.03 to 0.06 with 3 to 10 readers; benchmarks/readers_size.md names what falls outside

Scores follow Roe & Metz (1997): separation + reader + patient + (reader x patient). The model sees the same patients
with noise of its own, and its separation is such that its true AUC, or its threshold such that its true sensitivity,
equals the mean over all readers. Readers and patients are drawn anew in each replicate.
"""

import argparse
import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri
from threadpoolctl import threadpool_limits

from fusion_ln.evaluation.readers.cases import Cases, Measure
from fusion_ln.evaluation.readers.standalone import stand_alone_test
from fusion_ln.files.formats import write_text
from fusion_ln.records.origin import hardware, installed_versions

READERS = (3, 5, 10)
SIZES = ((50, 100), (300, 286))  # positive and other patients
AUCS = (0.80, 0.92)
READER_SDS = (0.1, 0.35)  # of a reader's separation
PATIENT_SHARE = 0.3  # of the variance of a score: what all see in the patient
TABLE = Path(__file__).parent / "benchmarks" / "readers_size.csv"


def separation(auc: float) -> float:
    """Distance of the classes' means at which scores of variance 1 have this AUC."""
    return float(np.sqrt(2) * ndtri(auc))


def draw(
    auc: float, sd: float, n_readers: int, sizes: tuple[int, int], measure: Measure, rng: np.random.Generator
) -> Cases:
    """Draw the patients' scores by the model and by readers, whose mean true figure is the model's."""
    positive = np.repeat([True, False], sizes)
    distance = separation(auc)
    patient = np.sqrt(PATIENT_SHARE) * rng.normal(size=len(positive))
    noise = np.sqrt(1 - PATIENT_SHARE) * rng.normal(size=(1 + n_readers, len(positive)))
    shift = np.append(0.0, sd * rng.normal(size=n_readers))[:, None]
    if measure == "auc":
        # Mean over readers of ndtr((distance + shift) / sqrt 2); the model's distance gives the same.
        own = distance / np.sqrt(1 + sd**2 / 2)
        means = np.where(positive, np.append(own, np.full(n_readers, distance))[:, None] + shift, 0.0)
        return Cases("auc", "positive", positive, means + patient + noise)
    # A reader calls a score above 0 positive: the mean over readers of ndtr(distance / 2 + shift).
    own = distance / 2 / np.sqrt(1 + sd**2)
    means = np.append(own, np.full(n_readers, distance / 2))[:, None] + shift
    calls = (means + patient + noise > 0)[:, positive]
    return Cases("sensitivity", "positive", np.ones(sizes[0], dtype=bool), calls.astype(float))


def measure_size(replicates: int, seed: int) -> pd.DataFrame:
    """Rejection rate and coverage of zero in every configuration, and the mean degrees of freedom."""
    rows = []
    for measure in ("auc", "sensitivity"):
        for auc in AUCS:
            for sd in READER_SDS:
                for sizes in SIZES:
                    for n_readers in READERS:
                        rng = np.random.default_rng([seed, n_readers, sizes[0], int(100 * auc), int(100 * sd)])
                        found = [
                            stand_alone_test(*draw(auc, sd, n_readers, sizes, measure, rng).figures())
                            for _ in range(replicates)
                        ]
                        size = float(np.mean([test.p < 0.05 for test in found]))
                        hillis = float(np.mean([test.hillis_p < 0.05 for test in found]))
                        true = auc if measure == "auc" else float(ndtr(separation(auc) / 2))
                        df = float(np.median([test.df for test in found]))
                        rows.append([measure, round(true, 3), sd, *sizes, n_readers, size, 1 - size, hillis, df])
    columns = [
        "measure",
        "figure",
        "reader_sd",
        "positive",
        "others",
        "readers",
        "size",
        "coverage",
        "hillis_size",
        "median_df",
    ]
    return pd.DataFrame(rows, columns=columns).round(4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    start = datetime.now(UTC)
    with threadpool_limits(1):
        table = measure_size(options.replicates, options.seed)
    machine = hardware()
    packages = {name: installed_versions().get(name, "") for name in ("fusion_ln", "numpy", "pandas")}
    lines = [
        f"# {shlex.join(['python', *sys.argv])}",
        f"# {options.replicates} replicates; {start:%Y-%m-%d}; {(datetime.now(UTC) - start).total_seconds():.0f} s; "
        f"{machine.processor}, {machine.cores} cores; python {platform.python_version()}, {packages}",
    ]
    write_text(options.out, "\n".join(lines) + "\n" + table.to_csv(index=False))
    print(table.groupby(["measure", "readers"])[["size", "hillis_size"]].agg(["min", "mean", "max"]).to_string())
    print(f"Wrote {options.out}")


if __name__ == "__main__":
    main()
