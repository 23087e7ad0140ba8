"""How do time and memory grow with the number of patients?

Question  What do import, folds, check, a run with its report, and a comparison cost with so many patients, and does
          any of them grow faster than their number?
Command   python experiments/cohort/cost_by_size.py --sizes 1000 10000 100000 --tables 1000000
Time      about 15 minutes on two cores; with --sizes 300 1000 3000 two
Expect    exponents near 1 or below between the two largest sizes; a comparison of 100,000 patients in 20 s, of
          1,000,000 in 120 s and 4 GB
          (it writes benchmarks/cost_by_size.md, .csv and .png)
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from fusion_ln.bench.page import describe_origin, table_head, table_row
from fusion_ln.evaluation.limits.large import LARGE
from fusion_ln.files.formats import write_csv, write_text
from fusion_ln.predictions import predictions_from_logits, write_predictions
from fusion_ln.report.kit.page import write_png
from fusion_ln.report.kit.style import figure_style, png_of, svg_of

PLACE = Path(__file__).parents[1] / "benchmarks"
CLASSES = ("benign", "lymphoma", "metastatic")
SIDE = 64  # pixels
PICTURES, TABLES = ("import", "folds", "check", "run and report"), ("compare",)
COLUMNS = ["work", "patients", "seconds", "cpu_seconds", "memory_mb"]


def write_archive(folder: Path, n: int) -> Path:
    """Write a table of patients with one smooth picture each."""
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir(parents=True)
    for number in range(n):
        coarse = Image.fromarray(rng.integers(40, 200, (8, 8), dtype=np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / "pictures" / f"{number}.png")
    table = pd.DataFrame({"patient_id": [f"p{number:07d}" for number in range(n)]})
    table["label"] = [CLASSES[number % len(CLASSES)] for number in range(n)]
    table["age"] = (40 + 10 * (np.arange(n) % len(CLASSES)) + rng.normal(0, 10, n)).round().clip(18, 95)
    table["2d"] = [f"pictures/{number}.png" for number in range(n)]
    write_csv(folder / "patients.csv", table)
    return folder / "patients.csv"


def write_tables(folder: Path, n: int) -> list[Path]:
    """Write the predictions of two models of like skill."""
    rng = np.random.default_rng(0)
    labels, folds, common = rng.choice(3, n, p=[0.28, 0.21, 0.51]), rng.integers(0, 5, n), rng.normal(size=(n, 3))
    patients, files = [f"p{number:07d}" for number in range(n)], []
    for name, skill in (("a", 1.6), ("b", 1.5)):
        logits = 0.7 * (common + rng.normal(size=(n, 3))) + skill * np.eye(3)[labels]
        files.append(folder / name / "predictions.parquet")
        write_predictions(files[-1], predictions_from_logits(CLASSES, patients, folds, labels, logits))
    return files


def measure(*arguments: object) -> dict[str, float]:
    """Run a command in a process of its own.

    Raises:
        RuntimeError: If it does not succeed.
    """
    code, started = "from fusion_ln.cli.main import cli; cli()", time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{arguments[0]} ended with status {status}.")
    cpu = used.ru_utime + used.ru_stime
    return {"seconds": time.monotonic() - started, "cpu_seconds": cpu, "memory_mb": used.ru_maxrss / 1000}


def measure_pictures(folder: Path, n: int) -> dict[str, dict[str, float]]:
    """Import so many patients, draw their folds anew, check them, and report a regression on their age."""
    table, cohort = write_archive(folder, n), folder / "cohort"
    commands = (
        ("cohort", "import", "table", table, "--out", cohort),
        ("cohort", "folds", cohort, "--seed", 1),
        ("cohort", "check", cohort),
        ("run", "baseline", "--clinical", "age", "--cohort", cohort, "--out", folder / "runs"),
    )
    return {work: measure(*command) for work, command in zip(PICTURES, commands, strict=True)}


def exponent(rows: pd.DataFrame) -> float:
    """Estimate the power of the number of patients with which CPU seconds grow, between the two largest sizes."""
    last = np.log(rows.sort_values("patients")[["patients", "cpu_seconds"]].tail(2).to_numpy())
    return float((last[1, 1] - last[0, 1]) / (last[1, 0] - last[0, 0])) if len(last) == 2 else float("nan")


def draw(table: pd.DataFrame) -> bytes:
    """Draw CPU seconds against patients, both on logarithmic axes."""
    with figure_style():
        figure = Figure(figsize=(5, 3.6), layout="constrained")
        axes = figure.add_subplot(xscale="log", yscale="log", xlabel="Patients", ylabel="CPU seconds")
        for work, rows in table.groupby("work", sort=False):
            axes.plot(rows["patients"], rows["cpu_seconds"], marker="o", ms=4, lw=1.4, label=work)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,.7g}")
            axis.set_minor_formatter("")
        axes.legend()
        svg_of(figure, "cost_by_size")
        return png_of(figure, "CPU seconds by number of patients")


def main() -> None:
    """Measure all sizes, and write table, plot and page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 1000, 3000], help="patients, with pictures")
    parser.add_argument("--tables", type=int, nargs="*", default=[], help="further sizes, of tables alone")
    asked, rows, load = parser.parse_args(), [], os.getloadavg()[0]
    for n in sorted({*asked.sizes, *asked.tables}):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            found = measure_pictures(folder / "archive", n) if n in asked.sizes else {}
            found["compare"] = measure("compare", *write_tables(folder, n), "--out", folder / "comparison")
        for work, costs in found.items():
            rows.append({"work": work, "patients": n, **costs})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows, columns=COLUMNS).round(1)
    table = pd.concat([table[table["work"] == work] for work in (*PICTURES, *TABLES)], ignore_index=True)
    write_csv(PLACE / "cost_by_size.csv", table)
    write_png(PLACE / "cost_by_size.png", draw(table))
    lines = ["# Cost by number of patients", "", describe_origin("numpy", "pandas", "scipy"), ""]
    lines += [
        f"One picture of {SIDE} px per patient; run: a regression on age; comparison of two tables; three classes."
    ]
    lines += [f"Load of the machine at the start: {load:.1f}.", ""]
    lines += [*table_head(COLUMNS), *(table_row(map(str, row)) for row in table.itertuples(index=False)), ""]
    grown = ", ".join(f"{work} {exponent(table[table['work'] == work]):.2f}" for work in (*PICTURES, *TABLES))
    lines += [f"CPU seconds grow with this power of the number, between the two largest sizes: {grown}.", ""]
    lines += [
        f"From {LARGE:,} patients on a comparison draws by sums over cells of patients instead of patient by patient.",
        "",
    ]
    lines += ["![CPU seconds by number of patients](cost_by_size.png)", ""]
    write_text(PLACE / "cost_by_size.md", "\n".join(lines))


if __name__ == "__main__":
    main()
