"""Pictures missing in training against pictures missing at test, head by head.

Question  Does a trained head keep up with late fusion of what is there where triplets are broken in training, and
          which modality dropout serves it?
Command   python experiments/accuracy/missing.py train --device cuda --workers 15   (stopped, the same command goes on)
          python experiments/accuracy/missing.py page
Time      about 60 CPU minutes a seed, beside one pre-training
Expect    `concat` above late fusion of what is there at 25 % broken in training, not told apart from it at 50 %,
          cross-attention hardly below (0.005 where grey scale is missing); a modality dropout that rises no better
          than the constant one; half a grey-scale picture worse than none
          (it writes benchmarks/missing.md, missing.csv and missing.png)

One cohort of 240 simulated patients a seed; the cells take pictures away from it, so patients, folds and pictures are
the same in all. Networks of modalities that a pattern leaves whole are those of the complete cohort. Every fold's
models then answer fresh patients from every subset of the modalities, and a cell's AUC weighs these answers by the
exact chance of each subset: there is no draw at test. Networks of several cells are trained side by side, heads of
those that are finished trained and asked beside them.
"""

import argparse
from concurrent.futures import Future, as_completed
from itertools import product
from pathlib import Path

import numpy as np
from missing_answers import TRAINED, ask_fold, ask_fold_damaged
from missing_cells import tabulate
from missing_masks import Pattern, masked_cohort
from missing_page import HEADS, LATE, draw, render
from parallel_training import FIT, Planned, prepare_pictures, processes_of_one_thread, train_side_by_side

from fusion_ln.bench.page import describe_origin
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.default import open_phantom
from fusion_ln.cohort.phantom.findings import tables
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.files.formats import write_arrays, write_csv, write_text
from fusion_ln.files.locks import locked
from fusion_ln.heads import LATE_HEADS
from fusion_ln.progress import say
from fusion_ln.report.kit.page import write_png
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import PRETRAINED
from fusion_ln.threads import cores
from fusion_ln.training.pretraining.start import resolve_weights, start_from
from fusion_ln.training.run import plan_baselines

PAGES = Path(__file__).parents[1] / "benchmarks"
FRESH, FRESH_SEED = 400, 1000  # patients who are asked about
DEFAULT = " 0.2"  # ends the names of heads with the modality dropout that they have by default
PATIENTS, N_FOLDS, BROKEN = 240, 5, (25, 50, 75)
KINDS = ("random", "linked", *tables().modalities)
WHOLE = Pattern("random", 0)
PATTERNS = [WHOLE, *(Pattern(kind, broken) for kind, broken in product(KINDS, BROKEN))]
DAMAGED = "damaged"  # name of the answers about damaged pictures
MODALITIES = tables().modalities
Cell = tuple[Pattern, int]  # in training, and a seed


def folder_of(out: Path, pattern: Pattern, seed: int) -> Path:
    """Locate the networks of one pattern."""
    return out / str(pattern) / f"seed-{seed}"


def cohort_of(out: Path, pattern: Pattern, seed: int) -> Cohort:
    """Open the patients of a seed, with the pictures that a pattern leaves."""
    complete = open_phantom(PhantomSettings(patients=PATIENTS, seed=seed))
    folder = folder_of(out, pattern, seed) / "cohort"
    with locked(out / "locks" / f"{pattern}-{seed}"):
        return masked_cohort(complete, pattern, folder, seed)


def prepare(out: Path, pattern: Pattern, seed: int) -> None:
    """Simulate the patients of a seed, take pictures away, and decode what is left."""
    prepare_pictures(lambda: cohort_of(out, pattern, seed), FIT.image_size)


def members_of(out: Path, pattern: Pattern, seed: int) -> list[RunFolder]:
    """List the baselines of a pattern, by modality; those of whole modalities are the complete cohort's."""
    own = pattern.broken_modalities
    return [
        RunFolder(folder_of(out, pattern if name in own else WHOLE, seed) / f"baseline-{name}") for name in MODALITIES
    ]


def planned(out: Path, pattern: Pattern, seed: int, weights: str) -> Planned:
    """Plan the networks of one pattern's broken modalities, or all for the complete cohort."""
    cohort, folder = cohort_of(out, pattern, seed), folder_of(out, pattern, seed)
    baselines = plan_baselines(
        folder,
        pattern.broken_modalities or MODALITIES,
        start_from(weights, FIT, out),
        protocol="nested",
        seed=seed,
    )
    return Planned(cohort, baselines, members_of(out, pattern, seed))


def fresh_cohort() -> Cohort:
    """Open the fresh patients, whose pictures are complete."""
    return open_phantom(PhantomSettings(patients=FRESH, seed=FRESH_SEED))


def answers_file(out: Path, name: object, seed: int) -> Path:
    """Locate the answers of one pattern's models, or about damaged pictures."""
    return out / "answers" / f"{name}-{seed}.npz"


def read_answers(file: Path) -> dict[str, np.ndarray]:
    """Read answers, which are kept in half precision."""
    return {name: each.astype(np.float32) for name, each in np.load(file).items()} if file.is_file() else {}


def heads_of(pattern: Pattern) -> list[str]:
    """List the heads that a pattern is asked with: where any picture may be missing, those of other dropouts too."""
    trained = [name for name in TRAINED if name.endswith(DEFAULT) or pattern.kind == "random"]
    return [*LATE_HEADS, *trained]


def ask(out: Path, pattern: Pattern, seed: int, number: int, damaged: bool) -> None:
    """Train the heads of one fold and keep their answers; whoever is the last to do so joins the folds."""
    name, heads = (DAMAGED, [LATE, *HEADS]) if damaged else (str(pattern), heads_of(pattern))
    file = answers_file(out, name, seed)
    parts = [out / "folds" / f"{name}-{seed}-{fold}.npz" for fold in range(N_FOLDS)]
    if not file.is_file() and not parts[number].is_file():
        about = ask_fold_damaged if damaged else ask_fold
        members = members_of(out, pattern, seed)
        write_arrays(parts[number], about(cohort_of(out, pattern, seed), members, fresh_cohort(), heads, number, seed))
    with locked(out / "locks" / f"answers-{name}-{seed}"):
        if not file.is_file() and all(part.is_file() for part in parts):
            folds = [dict(np.load(part)) for part in parts]
            joined = {head: np.stack([fold[head] for fold in folds]) for head in heads}
            write_arrays(file, {head: each.astype(np.float16) for head, each in joined.items()})


def in_order(seeds: list[int], chosen: list[Pattern]) -> list[Cell]:
    """Order cells: complete cohorts, who lend their networks, then any picture missing, then one modality's."""
    cells = list(product(sorted(chosen, key=PATTERNS.index), seeds))
    return sorted(cells, key=lambda cell: (cell[0] != WHOLE, cell[0].kind in MODALITIES))


def train_and_ask(options: argparse.Namespace, device: DeviceSettings) -> None:
    """Train the networks of all cells that have no answers yet, then their heads, and keep the answers."""
    out, patterns = options.out, {str(each): each for each in PATTERNS}
    weights = options.weights or resolve_weights(PRETRAINED, FIT, out, device).weights
    cells = in_order(options.seeds, [patterns[name] for name in options.patterns])
    left = [cell for cell in cells if not answers_file(out, *cell).is_file()]
    trained = list(dict.fromkeys([*((WHOLE, seed) for _, seed in left), *left]))
    with processes_of_one_thread(cores()) as pool:
        asked: list[Future[None]] = []

        def follow(cell: Cell) -> None:
            about = (False, True) if cell[0] == WHOLE else (False,)
            folds = range(N_FOLDS if cell in left else 0)
            asked.extend(pool.submit(ask, out, *cell, fold, damaged) for damaged, fold in product(about, folds))

        for ready in [pool.submit(_prepare_fresh), *(pool.submit(prepare, out, *cell) for cell in trained)]:
            ready.result()
        train_side_by_side({cell: planned(out, *cell, weights) for cell in trained}, device, follow)
        for each in as_completed(asked):
            each.result()
    say(f"{len(asked)} folds asked.")


def _prepare_fresh() -> None:
    prepare_pictures(fresh_cohort, FIT.image_size)


def write_page(out: Path, seeds: list[int]) -> None:
    """Write page, table and heat map of the answers that are there."""
    fresh = fresh_cohort()
    answers = {cell: held for cell in product(PATTERNS, seeds) if (held := read_answers(answers_file(out, *cell)))}
    damaged = {seed: held for seed in seeds if (held := read_answers(answers_file(out, DAMAGED, seed)))}
    table = tabulate(answers, fresh, BROKEN)
    write_csv(PAGES / "missing.csv", table.round(4))
    write_png(PAGES / "missing.png", draw(table, BROKEN))
    page = render(table, answers, damaged, fresh, BROKEN, describe_origin("torch", "timm"))
    write_text(PAGES / "missing.md", page)
    print((PAGES / "missing.md").read_text(encoding="utf-8"))


def main() -> None:
    """Train and ask, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["train", "page"])
    parser.add_argument("--out", type=Path, default=Path("runs/missing"), help="Folder of the runs.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="Seeds, of patients and of training.")
    parser.add_argument(
        "--patterns", nargs="+", default=[str(each) for each in PATTERNS], help="Patterns, as random-50."
    )
    parser.add_argument("--weights", help="File or folder of the pre-training; by default it is made in the folder.")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="Device of the fits.")
    parser.add_argument("--workers", type=int, default=2, help="Fits at once.")
    options = parser.parse_args()
    if options.step == "page":
        write_page(options.out, options.seeds)
    else:
        train_and_ask(options, DeviceSettings(device=options.device, workers=options.workers))


if __name__ == "__main__":
    main()
