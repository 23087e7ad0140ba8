"""Learning curves by number of patients, from scratch and pre-trained: where does learning to fuse begin to pay?

Question  Which head for how many patients, and what does pre-training save?
Command   python experiments/accuracy/few_patients.py          (stopped, the same command goes on)
          python experiments/accuracy/few_patients.py --page   (of what is there, trains nothing)
Time      about 30 CPU minutes a seed up to 586 patients, beside one pre-training
Expect    open but for two cells: from 60 patients on, pre-trained, both heads above late fusion, by as much as their
          seeds and patients may differ
          (it writes benchmarks/few_patients.md)

Each seed has its own simulated patients, networks and heads; both starts, all heads share the patients and folds.
"""

import argparse
from itertools import product
from pathlib import Path

import pandas as pd

from fusion_ln.bench.page import describe_origin, table_head, table_row
from fusion_ln.cohort.default import open_phantom
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.files.formats import write_text
from fusion_ln.metrics import PRIMARY, score
from fusion_ln.predictions import read_predictions
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import PRESETS, PRETRAINED
from fusion_ln.training.experiment_file import fusion_name, head_settings
from fusion_ln.training.pretraining.start import resolve_weights
from fusion_ln.training.run import run_baselines_and_fusions

SIZES, SEEDS, STARTS = [60, 120, 240, 586], [0, 1, 2], [PRETRAINED, "scratch"]
HEADS = ["late-mean", "late-logit", "late-stacked", "late-product", "concat", "cross-attention"]
PAGE = Path(__file__).parents[1] / "benchmarks" / "few_patients.md"


def folder_of(out: Path, size: int, start: str, seed: int) -> Path:
    """Locate the runs of one cell."""
    return out / f"{size}" / start / f"seed-{seed}"


def train(out: Path, size: int, start: str, seed: int, device: DeviceSettings) -> None:
    """Train the baselines and heads of one cell; what is there already is kept."""
    cohort = open_phantom(PhantomSettings(patients=size, seed=seed))
    fit = resolve_weights(start, PRESETS[PRETRAINED], out, device)
    heads, folder = head_settings(HEADS, {}, "few_patients"), folder_of(out, size, start, seed)
    run_baselines_and_fusions(
        cohort, list(cohort.modalities), heads, fit, folder, protocol="nested", seed=seed, device=device
    )


def cells(out: Path) -> list[dict[str, object]]:
    """List the AUC of all models of the finished cells: ``patients, start, seed, attainable``, then one per model."""
    rows: list[dict[str, object]] = []
    for start, size, seed in product(STARTS, SIZES, SEEDS):
        folder = folder_of(out, size, start, seed)
        runs = {path.name: RunFolder(path) for path in sorted(folder.glob("*-*"))}
        if not all(run in runs and runs[run].finished for run in map(fusion_name, HEADS)):
            continue
        cohort = open_phantom(PhantomSettings(patients=size, seed=seed))
        attainable = cohort.details.attainable.cohort["+".join(cohort.modalities)]["auc"]
        predictions = {name: read_predictions(run.predictions) for name, run in runs.items()}
        aucs = {name: float(score(p.labels, p.probs, p.classes)[PRIMARY][0]) for name, p in predictions.items()}
        rows.append({"patients": size, "start": start, "seed": seed, "attainable": attainable, **aucs})
    return rows


def render(rows: list[dict[str, object]], origin: str) -> str:
    """Write the page."""
    table = pd.DataFrame(rows)
    models = [name for name in table if name.startswith(("baseline-", "fusion-"))]
    late, heads = fusion_name("late-logit"), [fusion_name("concat"), fusion_name("cross-attention")]
    titles = [name.removeprefix("baseline-").removeprefix("fusion-") for name in models]
    lines = ["# Few patients: learning curves from two starts", "", origin, ""]
    lines += [
        "**Simulated** patients, those of each seed its own; resnet10t at 64 px, fine-tuned with twice the "
        "augmentation as the first run does, from random weights or pre-trained on the simulated organ tasks. Macro "
        "AUC, one against the rest, out of fold, mean over the seeds; in brackets the heads' gain over the mean of "
        "logits, by seed.", "",
        *table_head(["patients", "start", "seeds", "attainable", *titles]),
    ]  # fmt: skip
    for (size, start), cell in table.groupby(["patients", "start"]):
        shown = []
        for name in models:
            gains = ", ".join(f"{gain:+.3f}" for gain in cell[name] - cell[late])
            shown.append(f"{cell[name].mean():.3f}" + (f" ({gains})" if name in heads else ""))
        lines.append(table_row([str(size), str(start), str(len(cell)), f"{cell['attainable'].mean():.3f}", *shown]))
    done = set(zip(table["patients"], table["start"], table["seed"], strict=True))
    left = [f"{size} {start} (seed {seed})" for size, start, seed in product(SIZES, STARTS, SEEDS)
            if (size, start, seed) not in done]  # fmt: skip
    lines += ["", f"Not trained: {', '.join(left) or 'none'}.", ""]
    return "\n".join(lines)


def main() -> None:
    """Train every cell that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/few_patients"), help="Folder of the runs.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="Numbers of patients.")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="Seeds, of patients and of training.")
    parser.add_argument("--starts", nargs="+", default=STARTS, help="Starting weights.")
    parser.add_argument("--workers", type=int, default=2, help="Fits at once.")
    parser.add_argument("--page", action="store_true", help="Write the page of what is there.")
    options = parser.parse_args()
    if options.page:
        write_text(PAGE, render(cells(options.out), describe_origin("torch", "timm")))
        print(PAGE.read_text(encoding="utf-8"))
        return
    device = DeviceSettings(device="cpu", workers=options.workers)
    for seed, size, start in product(options.seeds, options.sizes, options.starts):
        train(options.out, size, start, seed, device)


if __name__ == "__main__":
    main()
