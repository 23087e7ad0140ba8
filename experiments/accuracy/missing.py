"""Pictures missing in training against pictures missing at test, head by head.

Question  Does a trained head keep up with late fusion of what is there where triplets are broken in training, and
          which modality dropout serves it?
Command   python experiments/accuracy/missing.py train     (stopped, the same command goes on)
          python experiments/accuracy/missing.py ask        (heads on the networks that are there)
          python experiments/accuracy/missing.py page
Time      about 30 CPU minutes a seed, beside one pre-training
Expect    at 25 and at 50 % broken in training `concat` above late fusion of what is there, cross-attention not below; a
          modality dropout that rises no better than the constant one; half a grey-scale picture worse than none
          (it writes benchmarks/missing.md, missing.csv and missing.png)

One cohort of 240 simulated patients a seed; the cells take pictures away from it, so patients, folds and pictures are
the same in all. Networks of modalities that a pattern leaves whole are those of the complete cohort. Every fold's
models then answer fresh patients from every subset of the modalities, and a cell's AUC weighs these answers by the
exact chance of each subset: there is no draw at test.
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
from missing_answers import TRAINED, ask_all, ask_damaged
from missing_cells import tabulate
from missing_masks import Pattern, masked_cohort
from missing_page import HEADS, LATE, draw, render

from fusion_ln.bench.page import describe_origin
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.default import open_phantom
from fusion_ln.cohort.phantom.findings import tables
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.files.formats import write_arrays, write_csv, write_text
from fusion_ln.heads import LATE_HEADS
from fusion_ln.progress import say
from fusion_ln.report.kit.page import write_png
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import PRESETS, PRETRAINED
from fusion_ln.training.pretraining.start import resolve_weights
from fusion_ln.training.run import run_baselines

PAGES = Path(__file__).parents[1] / "benchmarks"
FRESH, FRESH_SEED = 400, 1000  # patients who are asked about
DEFAULT = " 0.2"  # ends the names of heads with the modality dropout that they have by default
PATIENTS, BROKEN = 240, (25, 50, 75)
KINDS = ("random", "linked", *tables().modalities)
WHOLE = Pattern("random", 0)
PATTERNS = [WHOLE, *(Pattern(kind, broken) for kind, broken in product(KINDS, BROKEN))]


def folder_of(out: Path, pattern: Pattern, seed: int) -> Path:
    """Locate the networks of one pattern."""
    return out / str(pattern) / f"seed-{seed}"


def cohort_of(out: Path, pattern: Pattern, seed: int) -> Cohort:
    """Open the patients of a seed, with the pictures that a pattern leaves."""
    complete = open_phantom(PhantomSettings(patients=PATIENTS, seed=seed))
    return masked_cohort(complete, pattern, folder_of(out, pattern, seed) / "cohort", seed)


def train(out: Path, pattern: Pattern, seed: int, device: DeviceSettings) -> None:
    """Train the networks of one pattern's broken modalities, or all for the complete cohort; finished ones are kept."""
    fit = resolve_weights(PRETRAINED, PRESETS[PRETRAINED], out, device)
    modalities = pattern.broken_modalities or tables().modalities
    run_baselines(
        cohort_of(out, pattern, seed), modalities, fit, folder_of(out, pattern, seed), seed=seed, device=device
    )


def members_of(out: Path, pattern: Pattern, seed: int) -> list[RunFolder]:
    """List the baselines of a pattern, by modality; those of whole modalities are the complete cohort's."""
    own = pattern.broken_modalities
    return [
        RunFolder(folder_of(out, pattern if name in own else WHOLE, seed) / f"baseline-{name}")
        for name in tables().modalities
    ]


def fresh_cohort() -> Cohort:
    """Open the fresh patients, whose pictures are complete."""
    return open_phantom(PhantomSettings(patients=FRESH, seed=FRESH_SEED))


def answers_file(out: Path, pattern: Pattern, seed: int) -> Path:
    """Locate the answers of one pattern's models."""
    return out / "answers" / f"{pattern}-{seed}.npz"


def damaged_file(out: Path, seed: int) -> Path:
    """Locate the answers about damaged pictures."""
    return out / "answers" / f"damaged-{seed}.npz"


def ask(out: Path, pattern: Pattern, seed: int, remedies: bool) -> None:
    """Train the heads of one pattern and keep their answers; those that are there already stay."""
    file, members = answers_file(out, pattern, seed), members_of(out, pattern, seed)
    if not all(member.finished for member in members):
        say(f"{pattern}, seed {seed}: networks are missing; left out.")
        return
    held = dict(np.load(file)) if file.is_file() else {}
    heads = [*LATE_HEADS, *(TRAINED if remedies else [name for name in TRAINED if name.endswith(DEFAULT)])]
    if wanted := [head for head in heads if head not in held]:
        held |= ask_all(cohort_of(out, pattern, seed), members, fresh_cohort(), wanted, seed)
        write_arrays(file, held)


def ask_partly(out: Path, seed: int) -> None:
    """Keep the answers of the complete cohort's heads about triplets of which one picture is damaged."""
    file = damaged_file(out, seed)
    if not file.is_file():
        cohort, members = cohort_of(out, WHOLE, seed), members_of(out, WHOLE, seed)
        write_arrays(file, ask_damaged(cohort, members, fresh_cohort(), [LATE, *HEADS], seed))


def write_page(out: Path, seeds: list[int]) -> None:
    """Write page, table and heat map of the answers that are there."""
    fresh, answers = fresh_cohort(), {}
    for pattern, seed in product(PATTERNS, seeds):
        if (file := answers_file(out, pattern, seed)).is_file():
            answers[pattern, seed] = dict(np.load(file))
    table = tabulate(answers, fresh, BROKEN)
    write_csv(PAGES / "missing.csv", table.round(4))
    write_png(PAGES / "missing.png", draw(table, BROKEN))
    damaged = {seed: dict(np.load(damaged_file(out, seed))) for seed in seeds if damaged_file(out, seed).is_file()}
    page = render(table, answers, damaged, fresh, BROKEN, describe_origin("torch", "timm"))
    write_text(PAGES / "missing.md", page)
    print((PAGES / "missing.md").read_text(encoding="utf-8"))


def main() -> None:
    """Train, or ask, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["train", "ask", "page"])
    parser.add_argument("--out", type=Path, default=Path("runs/missing"), help="Folder of the runs.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="Seeds, of patients and of training.")
    parser.add_argument(
        "--patterns", nargs="+", default=[str(each) for each in PATTERNS], help="Patterns, as random-50."
    )
    parser.add_argument("--remedies", action="store_true", help="Ask heads with other modality dropouts, too.")
    parser.add_argument("--workers", type=int, default=2, help="Fits at once.")
    options = parser.parse_args()
    chosen = {str(each): each for each in PATTERNS}
    device = DeviceSettings(device="cpu", workers=options.workers)
    if options.step == "page":
        write_page(options.out, options.seeds)
        return
    for seed, name in product(options.seeds, options.patterns):
        if options.step == "train":
            train(options.out, chosen[name], seed, device)
        else:
            ask(options.out, chosen[name], seed, options.remedies)
    for seed in options.seeds if options.step == "ask" else ():
        ask_partly(options.out, seed)


if __name__ == "__main__":
    main()
