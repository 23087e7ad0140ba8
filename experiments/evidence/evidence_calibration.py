"""Is the evidence itself right? Coverage of the 95 % intervals and error rates of the tests, on simulated models.

Question  Do the printed intervals hold the true value 95 times in 100, and do tests reject 5 times in 100 where nothing
          differs? Do corrections keep their promise for whole families?
Command   python experiments/evidence/evidence_calibration.py [--replicates 4000] [--workers 16] [--tests]
Time      about two hours of one core with 4,000 replicates; --tests runs the tests alone, half of it
Expect    coverage of at least 0.93 (above 0.97: named wide), single tests from 0.04 to 0.06, families and the
          intersection-union test at most 0.06; benchmarks/evidence_calibration.md names what falls outside, and why

Two models see each patient through logits = skill x true class + noise; a part of the noise is the patient's and shared
by both. Every replicate draws its skill so that recall is uniform over a range: the coverage of a share swings with the
share. "unstable": five nearest-centroid fits per model, each on a resample of its training patients and a few features;
"these trainings" is the mean of what the five fits reach on 30,000 new patients (with few, the chance in this truth
counts against the intervals), "procedure" its mean over `CHUNK` replicates. "swaps" is the printed test of AUCs;
DeLong's stands beside it. "before" is what the tables gave before 2026-11-26: BCa for a metric, the percentile interval
for a difference.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from evidence_intervals import Hits, replicate_models, replicate_unstable
from evidence_models import MODELS, truths
from evidence_page import write_page
from evidence_tests import replicate_tests
from threadpoolctl import threadpool_limits

from fusion_ln.bench.page import describe_origin
from fusion_ln.evaluation.intervals import split_name
from fusion_ln.files.formats import write_text

SIZES = (30, 100, 150, 586)
TEST_SIZES = (60, 100, 150, 586)
MANY = 586  # patients whose tests, of a second each, have `CHUNK` replicates alone
UNSTABLE_SIZES = (240, 586)
CHUNK = 400  # replicates of one task of a worker
BOUNDS = {"coverage": (0.93, 0.97), "rejection": (0.04, 0.06), "family": (0.0, 0.06)}
TESTED = {"recall 0.65": (0.6, 0.7), "same": (0.74, 0.84), "recall 0.9": (0.85, 0.95), "recall 0.95": (0.9, 0.99)}
TABLE = Path(__file__).parents[1] / "benchmarks" / "evidence_calibration.csv"


def calibrate(*, replicates: int, draws: int, seed: int, workers: int = 1, tests: bool = False) -> pd.DataFrame:
    """Tabulate hits: ``models, n, what, metric, class, method, rate, standard_error, printed, verdict``.

    Args:
        tests: Tabulate the tests alone.
    """
    tasks: list[tuple[str, int, Callable[..., Hits], tuple[object, ...]]] = []
    if not tests:
        tasks += [("unstable", n, replicate_unstable, (n, draws)) for n in UNSTABLE_SIZES]
        tasks += [(models, n, replicate_models, (n, MODELS[models], draws)) for models in MODELS for n in SIZES]
    tasks += [(models, n, replicate_tests, (n, recall)) for n in TEST_SIZES for models, recall in TESTED.items()]
    truths()  # before the workers are forked
    rows: list[dict[str, str | int | float]] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        parts = [(min(CHUNK, replicates - start), start) for start in range(0, replicates, CHUNK)]
        run = pool.submit if workers > 1 else _now
        found = [
            [run(function, *given, part, [seed, start, place]) for part, start in parts[: _chunks(function, n)]]
            for place, (_, n, function, given) in enumerate(tasks)
        ]
        for (models, n, *_), chunks in zip(tasks, found, strict=True):
            hits: Hits = defaultdict(list)
            for chunk in chunks:
                for key, each in chunk.result().items():
                    hits[key] += each
            rows += _rows(models, n, hits)
    return pd.DataFrame(rows)


def _chunks(function: Callable[..., Hits], n: int) -> int | None:
    """Limit the chunks of a task; None: all."""
    return 1 if function is replicate_tests and n >= MANY else None


def _now(function: Callable[..., Hits], *given: object) -> Future[Hits]:
    """Run a task in this process."""
    done: Future[Hits] = Future()
    done.set_result(function(*given))
    return done


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
    if method in ("before", "procedure") or method.startswith("DeLong") or np.isnan(rate):
        return ""
    low, high = BOUNDS[what.split(maxsplit=1)[0]]
    names = ("too narrow", "wide") if what.startswith("coverage") else ("rejects too rarely", "rejects too often")
    return names[0] if rate < low else names[1] if rate > high else "ok"


def header(replicates: int, draws: int, workers: int, seconds: float) -> str:
    """Describe the making of the table in comment lines."""
    return f"# {describe_origin('numpy', 'scipy', 'pandas')}\n# {replicates} replicates, {draws} resamples each, " + (
        f"{seconds:.0f} s with {workers} workers.\n"
    )


def read_intervals(path: Path) -> tuple[str, pd.DataFrame]:
    """Read how the intervals of a kept table were made, and their rows."""
    made = [line for line in path.read_text().splitlines() if line.startswith("# ") and "--tests" not in line]
    table = pd.read_csv(path, comment="#", keep_default_na=False)
    return "\n".join(made[:2]) + "\n", table[table["what"].str.startswith("coverage")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--draws", type=int, default=500, help="bootstrap resamples per replicate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tests", action="store_true", help="run the tests alone and keep the table's intervals")
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    start = perf_counter()
    with threadpool_limits(1):
        table = calibrate(
            replicates=options.replicates,
            draws=options.draws,
            seed=options.seed,
            workers=options.workers,
            tests=options.tests,
        )
    top = header(options.replicates, options.draws, options.workers, perf_counter() - start)
    if options.tests:
        kept, intervals = read_intervals(options.out)
        top, table = kept + top, pd.concat([intervals, table], ignore_index=True)
    write_text(options.out, top + table.to_csv(index=False))
    write_page(options.out)
    judged = table[table["verdict"] != ""]
    print(pd.crosstab([judged["what"], judged["models"], judged["n"]], judged["verdict"]).to_string())
    print(f"Wrote {options.out} and its page")


if __name__ == "__main__":
    main()
