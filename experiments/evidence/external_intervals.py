"""Do the intervals of an evaluation hold the truth of another hospital?

Question  Of 100 sites drawn from phantom hospitals of five shifts, how many intervals of each figure hold the frozen
          model's figure on the hospital's whole population?
Command   python experiments/evidence/external_intervals.py --device cuda --workers 16
Time      about 5 minutes on one GPU and 16 cores; with `--model`, 7 minutes of two cores
Expect    at least 90 of 100 for every figure

One phantom study is trained and frozen, or a model is given. Of each shifted hospital `--population` patients are
simulated and answered once: they are its population, whose figures are the truth. A site is `--site-patients` of them
drawn with replacement. More than 100 sites cost nothing, so that each share has a small standard error.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import cache, partial
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from fusion_ln.bench.page import describe_origin
from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.phantom.settings import SHIFTS
from fusion_ln.cohort.phantom.shift import Shift, draw_shift
from fusion_ln.cohort.phantom.simulate import simulate_cohort
from fusion_ln.evaluation.external.answers import ExternalAnswers, tabulate_answers
from fusion_ln.evaluation.external.figures import score_external
from fusion_ln.evaluation.external.points import OperatingPoint
from fusion_ln.files.formats import write_text
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import FitSettings
from fusion_ln.terms import LABEL, PATIENT

if TYPE_CHECKING:
    from fusion_ln.frozen.load import FrozenModel

T = TypeVar("T")
PART = 50  # patients that one process simulates and answers at a time
SITES = 100  # of each hospital
SHIFT_SEED = 7  # of the hospitals
TABLE = Path(__file__).parents[1] / "benchmarks" / "external_intervals.csv"


def take_core(cores: "Queue[int]") -> None:
    """Keep a process to a core of its own."""
    os.sched_setaffinity(0, {cores.get()})


def train_baseline(cohort: Path, out: Path, fit: FitSettings, device: DeviceSettings, modality: str) -> RunFolder:
    """Train the baseline of a modality."""
    from fusion_ln.training.run import run_baselines

    return run_baselines(load_cohort(cohort), [modality], fit, out, device=device)[0]


def make_model(folder: Path, options: argparse.Namespace) -> Path:
    """Simulate and train a study, and freeze its mean of the modalities."""
    from fusion_ln.frozen.freeze import freeze
    from fusion_ln.training.run import run_fusions

    device = DeviceSettings(device=options.device, workers=0 if options.device == "cuda" else options.workers)
    cohort = simulate_cohort(folder / "study", n_patients=options.patients, image_size=options.image_size, seed=1)
    fit = FitSettings(epochs=options.epochs, image_size=options.image_size)
    train = partial(train_baseline, cohort.root, folder / "runs", fit, device)
    if options.device == "cuda":  # the fits of one baseline wait for one another: three baselines at once
        with ProcessPoolExecutor(3, get_context("spawn")) as pool:
            baselines = list(pool.map(train, cohort.modalities))
    else:
        baselines = [train(modality) for modality in cohort.modalities]
    run = run_fusions(cohort, baselines, {"late-mean": None}, folder / "runs", device=device)[0]
    freeze(run, folder / "model", licence="none")
    return folder / "model"


def simulate_part(folder: Path, shift: str, number: int, image_size: int) -> Path:
    """Simulate some patients of a hospital."""
    cohort = simulate_cohort(
        folder / f"{shift}-{number}",
        n_patients=PART,
        k=2,
        image_size=image_size,
        seed=1000 + number,
        shift=[shift],
        shift_seed=SHIFT_SEED,
    )
    return cohort.root


def answer_part(root: Path, part: Path) -> pd.DataFrame:
    """Answer the patients of a part once, as an evaluation does."""
    import torch

    from fusion_ln.frozen.answer import answer
    from fusion_ln.images.bank import open_bank
    from fusion_ln.images.patients import gather_pictures

    torch.set_num_threads(1)
    model, cohort = opened_model(root), load_cohort(part)
    banks = {name: open_bank(cohort, name, side) for name, side in model.record.modalities.items()}
    answers = answer(model, gather_pictures(banks), cohort.patients)
    names = np.array(model.modalities)
    table = tabulate_answers(
        model.record.classes,
        answers.patients,
        answers.probs,
        answers.member,
        answers.raw,
        ["+".join(names[mask]) for mask in answers.present],
        labels=cohort.patients.set_index(PATIENT)[LABEL].loc[answers.patients].to_numpy(),
        groups={},
    ).table
    table[PATIENT] = [f"{part.name}-{patient}" for patient in table[PATIENT]]
    return table


@cache
def opened_model(root: Path) -> "FrozenModel":
    """Load a model once a process."""
    from fusion_ln.frozen.load import load_model

    return load_model(root)


def figures_of(classes: tuple[str, ...], table: pd.DataFrame, points: tuple[OperatingPoint, ...]) -> pd.DataFrame:
    """Value and interval of every figure that an evaluation prints."""
    table = table.sort_values(PATIENT, ignore_index=True)
    found = score_external(ExternalAnswers(classes, table), points).endpoints()
    rows = {name: (each.value, each.low, each.high) for name, each in found.items()}
    return pd.DataFrame(rows, index=["value", "low", "high"], dtype=float).T


def compare_sites(
    answered: dict[str, pd.DataFrame],
    classes: tuple[str, ...],
    points: tuple[OperatingPoint, ...],
    options: argparse.Namespace,
    pool: ProcessPoolExecutor,
) -> pd.DataFrame:
    """A row per hospital, site and figure: ``shift, site, figure, truth, value, low, high, holds``."""
    rng, truths, sites = np.random.default_rng(0), {}, {}
    for shift, table in answered.items():
        truths[shift] = pool.submit(figures_of, classes, table, points)
        for number in range(options.sites):
            drawn = table.iloc[rng.integers(0, len(table), options.site_patients)]
            names = [f"{place:05}" for place in range(len(drawn))]  # who is drawn twice is two patients
            sites[shift, number] = pool.submit(figures_of, classes, drawn.assign(**{PATIENT: names}), points)
    parts = []
    for (shift, number), site in sites.items():
        part = site.result().assign(truth=truths[shift].result()["value"])
        parts.append(part.rename_axis("figure").reset_index().assign(shift=shift, site=number))
    table = pd.concat(parts, ignore_index=True)
    table["holds"] = ((table["low"] <= table["truth"]) & (table["truth"] <= table["high"])).astype(float)
    table.loc[table[["low", "truth", "high"]].isna().any(axis=1), "holds"] = np.nan
    return table[["shift", "site", "figure", "truth", "value", "low", "high", "holds"]]


def main() -> None:
    """Train, answer and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a frozen model's folder; by default one is trained")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--patients", type=int, default=400, help="of the study")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--population", type=int, default=3000, help="patients of each hospital")
    parser.add_argument("--site-patients", type=int, default=150)
    parser.add_argument("--sites", type=int, default=SITES)
    parser.add_argument("--simulate-seconds", type=float, default=3600, help="after which no more are simulated")
    parser.add_argument("--seconds", type=float, default=7200, help="after which no more patients are answered")
    parser.add_argument("--table", type=Path, default=TABLE)
    options = parser.parse_args()
    began = time.monotonic()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cores: Queue[int] = get_context("spawn").Queue()
    for number in range(options.workers):
        held = sorted(os.sched_getaffinity(0))
        cores.put(held[number % len(held)])
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(options.workers, get_context("spawn"), take_core, (cores,)) as pool,
    ):
        os.environ["FUSIONLN_CACHE"] = f"{folder}/cache"
        simulated = begin_pools(Path(folder), options, pool)  # while the networks train
        model = options.model or make_model(Path(folder), options)
        print(f"[{time.monotonic() - began:.0f} s] model ready", flush=True)
        parts = list(finished(simulated, began + options.simulate_seconds))
        print(f"[{time.monotonic() - began:.0f} s] {len(parts)} parts of {PART} patients simulated", flush=True)
        asked = {pool.submit(answer_part, model, root): shift for shift, root in parts}
        tables: dict[str, list[pd.DataFrame]] = {shift: [] for shift in SHIFTS}
        for shift, part in finished(asked, began + options.seconds):
            tables[shift].append(part)
        answered = {s: pd.concat(held).sort_values(PATIENT, ignore_index=True) for s, held in tables.items()}
        print(f"[{time.monotonic() - began:.0f} s] {sum(map(len, answered.values()))} patients answered", flush=True)
        record = ModelFolder(model).read_record()
        table = compare_sites(answered, record.classes, record.operating_points, options, pool)
    write_text(options.table, table.round(5).to_csv(index=False))
    sizes = {shift: len(each) for shift, each in answered.items()}
    text = page(table, sizes, options, time.monotonic() - began)
    write_text(options.table.with_suffix(".md"), text)
    print(text)


def begin_pools(folder: Path, options: argparse.Namespace, pool: ProcessPoolExecutor) -> dict[Future[Path], str]:
    """Begin to simulate the pool of every hospital, part by part in turn."""
    wanted = -(-options.population // PART)
    return {
        pool.submit(simulate_part, folder / "pools", shift, number, options.image_size): shift
        for number in range(wanted)
        for shift in SHIFTS
    }


def finished(parts: "dict[Future[T], str]", until: float) -> Iterator[tuple[str, T]]:
    """Yield hospital and result of every part that ends in time; the others are left out."""
    for part in as_completed(parts):
        if not part.cancelled():
            yield parts[part], part.result()
        if time.monotonic() > until:
            for each in parts:
                each.cancel()


def in_words(shift: Shift) -> str:
    """Say what differs at a hospital."""
    parts = []
    for name, value in shift.describe().items():
        shown = ", ".join(f"{key} {share}" for key, share in value.items()) if isinstance(value, dict) else str(value)
        parts.append(f"{name} {shown}")
    return "; ".join(parts)


def page(table: pd.DataFrame, sizes: dict[str, int], options: argparse.Namespace, seconds: float) -> str:
    """The kept page: of each figure, the sites whose interval holds the truth, by hospital and in all."""
    counts = table.pivot_table(index="figure", columns="shift", values="holds", aggfunc="sum", sort=False)[list(SHIFTS)]
    known = table.groupby("figure", sort=False)["holds"].count()
    what = [f"- `{shift}`: {in_words(draw_shift([shift], SHIFT_SEED))}; {sizes[shift]:,} patients" for shift in SHIFTS]
    study = (
        f"the model `{options.model}`"
        if options.model
        else f"a study of {options.patients} patients ({options.epochs} epochs)"
    )
    total = int(counts.to_numpy().sum()) / max(int(known.sum()), 1)
    lines = [
        "# Do the intervals of an evaluation hold the truth of another hospital?\n",
        f"{describe_origin('torch', 'numpy')} {seconds:.0f} s; device: {options.device}.\n",
        f"The mean of the modalities from {study}, {options.image_size} px, frozen. Sites of {options.site_patients} "
        f"patients, {options.sites} of each hospital, drawn with replacement from its population, whose figures are "
        f"the truth. Over all figures {total:.3f} of the intervals hold it; of the single figures:\n",
        *what,
        f"\n| figure | {' | '.join(SHIFTS)} | all | of |",
        "| --- " * (len(SHIFTS) + 3) + "|",
        *(
            f"| {figure} | {' | '.join(f'{n:.0f}' for n in row)} | **{row.sum():.0f}** | {known[str(figure)]} |"
            for figure, row in counts.iterrows()
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
