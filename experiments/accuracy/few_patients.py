"""Learning curves by number of patients, from scratch and pre-trained: where does learning to fuse begin to pay?

Question  Which head for how many patients, and what does pre-training save?
Command   python experiments/accuracy/few_patients.py --device cuda --workers 15     (stopped, the same command goes on)
          python experiments/accuracy/few_patients.py --page    (of the table alone, trains nothing)
Time      about a CPU minute a cell of 60 patients, four of 240, twenty of 1,200, beside one pre-training
Expect    with 60 patients no head told apart from late fusion by three seeds of other patients; from 120 on, with
          pre-trained networks, `concat` above it by 0.003 to 0.011; pre-training lifts grey scale from chance to 0.76
          with 60 patients, from 0.75 to 0.86 with 586
          (it writes benchmarks/few_patients.csv, the rows of each cell as it ends; of these few_patients.md and .png)

Each seed has its own simulated patients, networks and heads; both starts, all heads share the patients and folds.
Networks of several cells are trained side by side, heads of those that are finished beside them.
"""

import argparse
from concurrent.futures import Future, as_completed, wait
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from few_page import MODELS, draw, render
from parallel_training import FIT, Planned, prepare_pictures, processes_of_one_thread, train_side_by_side
from repeated_heads import CLASS, SHOWN, by_rule

from fusion_ln.bench.page import describe_origin
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.default import open_phantom
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.compute.device import accelerator_of
from fusion_ln.files.formats import write_csv, write_text
from fusion_ln.files.locks import locked
from fusion_ln.metrics import PRIMARY, score
from fusion_ln.predictions import read_predictions
from fusion_ln.records.origin import hardware
from fusion_ln.report.kit.page import write_png
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import PRETRAINED
from fusion_ln.terms import LABEL
from fusion_ln.threads import cores
from fusion_ln.training.experiment_file import fusion_name, head_settings
from fusion_ln.training.pretraining.start import resolve_weights, start_from
from fusion_ln.training.run import fuse, plan_baselines

SIZES, SEEDS, STARTS = [60, 120, 240, 586, 1200], [0, 1, 2], [PRETRAINED, "scratch"]
LATE, TRAINED = ["late-mean", "late-logit", "late-stacked", "late-product"], ["concat", "cross-attention"]
SHARES = (LATE, *([head] for head in TRAINED))  # of a cell's heads, each the work of one process
PAGES = Path(__file__).parents[1] / "benchmarks"
ONE = DeviceSettings(device="cpu", workers=1)


@dataclass(frozen=True)
class Cell:
    """Patients of a number and a seed, networks from one start, and the folder of their runs."""

    size: int
    start: str
    seed: int
    folder: Path

    def cohort(self) -> Cohort:
        """Open the patients."""
        return open_phantom(PhantomSettings(patients=self.size, seed=self.seed))

    def models(self) -> dict[str, RunFolder]:
        """List the runs of all models, modalities first."""
        names = {modality: f"baseline-{modality}" for modality in MODELS[:3]}
        names |= {head: fusion_name(head) for head in (*LATE, *TRAINED)}
        return {model: RunFolder(self.folder / name) for model, name in names.items()}

    def members(self) -> list[RunFolder]:
        """List the baselines, in the order of the modalities."""
        models = self.models()
        return [models[modality] for modality in MODELS[:3]]

    def planned(self, weights: str) -> Planned:
        """Plan the baselines from some weights."""
        cohort, fit = self.cohort(), start_from(weights, FIT, self.folder)
        baselines = plan_baselines(self.folder, cohort.modalities, fit, protocol="nested", seed=self.seed)
        return Planned(cohort, baselines, self.members())


def prepare(size: int, seed: int) -> None:
    """Simulate and decode the patients of a number and a seed."""
    prepare_pictures(lambda: open_phantom(PhantomSettings(patients=size, seed=seed)), FIT.image_size)


def fuse_and_list(cell: Cell, heads: list[str], table: Path, machine: str) -> None:
    """Fuse the baselines of a cell with some heads; whoever is the last to do so adds the cell's rows to the table."""
    settings = head_settings(heads, {}, "few_patients")
    fuse(cell.cohort(), cell.members(), settings, cell.folder, seed=cell.seed, device=ONE)
    with locked(table.with_suffix(".lock")):
        held = read_table(table)
        if all(run.finished for run in cell.models().values()) and key_of(cell) not in keys_of(held):
            write_csv(table, pd.concat([held, rows_of(cell, machine)], ignore_index=True))


def key_of(cell: Cell) -> tuple[int, str, int]:
    """Name a cell as the table does."""
    return cell.size, cell.start, cell.seed


def keys_of(table: pd.DataFrame) -> set[tuple[int, str, int]]:
    """List the cells of the table."""
    return set(zip(table["patients"], table["start"], table["seed"], strict=True)) if len(table) else set()


def read_table(path: Path) -> pd.DataFrame:
    """Read the rows of all finished cells."""
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def rows_of(cell: Cell, machine: str) -> pd.DataFrame:
    """Score all models of a finished cell, and the exact posterior on its patients: AUC, recall of lymphoma."""
    cohort = cell.cohort()
    prior = np.bincount(cohort.patients[LABEL]) / len(cohort.patients)
    exact = cohort.details.attainable.cohort["+".join(cohort.modalities)]
    recalls = (exact[f"balanced_recall_{CLASS}"], exact[f"recall_{CLASS}"])
    figures: dict[str, tuple[float, ...]] = {"posterior": (exact["auc"], *recalls)}
    for model, run in cell.models().items():
        predictions = read_predictions(run.predictions)
        weighed = [by_rule(predictions, prior, model, rule) for rule in ("balanced", "prevalence")]
        own, *rules = [score(p.labels, p.probs, p.classes, metrics=SHOWN) for p in (predictions, *weighed)]
        figures[model] = (float(own[PRIMARY][0]), *(float(each[f"recall:{CLASS}"][0]) for each in rules))
    keys = {"patients": cell.size, "start": cell.start, "seed": cell.seed, "machine": machine}
    names = ("auc", "recall_balanced", "recall_prevalence")
    rows = [keys | {"model": model} | dict(zip(names, each, strict=True)) for model, each in figures.items()]
    return pd.DataFrame(rows).round(5)


def train_all(options: argparse.Namespace, device: DeviceSettings, table: Path) -> None:
    """Train every cell that is asked for and not in the table, seed by seed."""
    done, out = keys_of(read_table(table)), options.out
    cells = [
        Cell(size, start, seed, out / f"{size}" / start / f"seed-{seed}")
        for seed, size, start in product(options.seeds, sorted(options.sizes, reverse=True), options.starts)
        if (size, start, seed) not in done
    ]
    weights = {start: start for start in options.starts}
    if PRETRAINED in weights:
        weights[PRETRAINED] = options.weights or resolve_weights(PRETRAINED, FIT, out, device).weights
    machine = torch.cuda.get_device_name() if accelerator_of(device) == "cuda" else hardware().processor
    with processes_of_one_thread(cores()) as pool:
        fused: list[Future[None]] = []

        def follow(cell: Cell) -> None:
            fused.extend(pool.submit(fuse_and_list, cell, heads, table, machine) for heads in SHARES)

        def start(group: list[Cell]) -> list[Future[None]]:
            return [pool.submit(prepare, *key) for key in dict.fromkeys((cell.size, cell.seed) for cell in group)]

        first = [cell for cell in cells if cell.seed == options.seeds[0]]
        rest = [cell for cell in cells if cell not in first]  # their patients are simulated while the first are trained
        wait(start(first))
        pictures = start(rest)
        for group in (first, rest):
            train_side_by_side({cell: cell.planned(weights[cell.start]) for cell in group}, device, follow)
            wait(pictures)
        for each in as_completed(fused):
            each.result()


def write_page(table: Path) -> None:
    """Write page and curves of what the table holds."""
    rows = read_table(table)
    write_png(PAGES / "few_patients.png", draw(rows))
    left = []
    for size, start in product(SIZES, STARTS):
        if seeds := [str(seed) for seed in SEEDS if (size, start, seed) not in keys_of(rows)]:
            left.append(f"{size} {start} (seed {', '.join(seeds)})")
    write_text(PAGES / "few_patients.md", render(rows, left, describe_origin("torch", "timm")))
    print((PAGES / "few_patients.md").read_text(encoding="utf-8"))


def main() -> None:
    """Train every cell that is asked for, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/few_patients"), help="Folder of the runs.")
    parser.add_argument("--table", type=Path, default=PAGES / "few_patients.csv", help="CSV of the finished cells.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="Numbers of patients.")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="Seeds, of patients and of training.")
    parser.add_argument("--starts", nargs="+", default=STARTS, help="Starting weights.")
    parser.add_argument("--weights", help="File or folder of the pre-training; by default it is made in the folder.")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="Device of the fits.")
    parser.add_argument("--workers", type=int, default=2, help="Fits at once.")
    parser.add_argument("--page", action="store_true", help="Write the page of what is there.")
    options = parser.parse_args()
    if options.page:
        write_page(options.table)
    else:
        train_all(options, DeviceSettings(device=options.device, workers=options.workers), options.table)


if __name__ == "__main__":
    main()
