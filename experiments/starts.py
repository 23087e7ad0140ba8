"""A small ViT from three starts on few pictures: random weights, our own pre-training, and the same spared.

Question  What do a backbone that rests for two epochs and rates that fall by 0.75 a layer buy a pre-trained ViT?
Command   python experiments/starts.py          (stopped, the same command goes on)
Time      about 25 minutes on one core
Expect    pre-training far above random weights; sparing it no gain (one seed: 0.714, 0.564, 0.673)
          (it writes benchmarks/starts.md)

Same patients, folds, seeds and budget for all, so differences are paired. Elastography in small
batches: on grey scale in batches of 16 this budget teaches the network nothing from any start (macro AUC 0.45 to 0.49).
"""

import argparse
from pathlib import Path

from fusion_ln.bench.page import describe_origin, table_head, table_row
from fusion_ln.cohort.default import open_organs, open_phantom
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.evaluation.starts import Baseline, GainOfStart, compare_weights
from fusion_ln.files.formats import write_text
from fusion_ln.predictions import read_predictions
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.pretraining import PRETRAIN_PATIENCE, PretrainSettings
from fusion_ln.settings.training import FitSettings
from fusion_ln.training.pretraining.pretrain import pretrain
from fusion_ln.training.run import run_baselines

PAGE = Path(__file__).parent / "benchmarks" / "starts.md"
PATIENTS, SIDE, MODALITY = 160, 96, "elastic"
ONE_CORE = DeviceSettings(device="cpu", workers=1)
SMALL_VIT = FitSettings(backbone="test_vit", image_size=SIDE, epochs=12, lr=1e-3)  # 6 blocks, 64 wide
TUNED = SMALL_VIT.model_copy(update={"batch_size": 4})  # many steps, since a ViT needs them
SPARED: dict[str, dict[str, object]] = {
    "pre-trained": {},
    "pre-trained, spared": {"frozen_epochs": 2, "layer_decay": 0.75},
}


def train(out: Path, seeds: int) -> list[Baseline]:
    """Train every start with every seed; what is there already is kept."""
    cohort = open_phantom(PhantomSettings(patients=PATIENTS, image_size=SIDE))
    pretraining = RunFolder(out / "pretraining")
    fit = SMALL_VIT.model_copy(update={"epochs": 30, "patience": PRETRAIN_PATIENCE})
    pretrain(open_organs(SIDE), PretrainSettings(fit=fit), pretraining, ONE_CORE)
    starts = {"scratch": TUNED} | {
        name: TUNED.model_copy(update={"weights": str(pretraining.root), **changes}) for name, changes in SPARED.items()
    }
    baselines = []
    for number, (name, start) in enumerate(starts.items()):
        for seed in range(seeds):
            run = run_baselines(cohort, [MODALITY], start, out / f"{number}-seed-{seed}", seed=seed, device=ONE_CORE)[0]
            predictions = read_predictions(run.predictions)
            baselines.append(Baseline(SMALL_VIT.backbone, MODALITY, name, seed, (), predictions))
    return baselines


def render(gains: list[list[GainOfStart]], seeds: int) -> str:
    """Write the page."""
    lines = [
        "# What spares a pre-trained ViT on few pictures",
        "",
        describe_origin("torch", "timm"),
        "",
        f"{PATIENTS} simulated patients, elastography, `{SMALL_VIT.backbone}` of timm (6 blocks, 64 wide), {SIDE} px, "
        f"{TUNED.epochs} epochs in batches of {TUNED.batch_size}, rate {TUNED.lr:g}, {seeds} seed(s), "
        "the same folds for all; one "
        "pre-training on the five simulated organ tasks. Macro one-vs-rest AUC out of fold, mean over the seeds; "
        "differences are paired, with 95 % intervals over patients. Spared: the backbone rests for 2 epochs, then its "
        "rates fall by 0.75 from layer to layer.",
    ]
    for table in gains:
        lines += ["", *table_head(["start", "AUC", f"AUC of {table[0].reference}", "difference", "of each seed"])]
        for gain in table:
            by_seed = ", ".join(f"{value:+.3f}" for value in gain.by_seed)
            interval = f"{gain.difference:+.3f} ({gain.ci_low:+.3f} to {gain.ci_high:+.3f})"
            lines.append(table_row([gain.weights, f"{gain.auc:.3f}", f"{gain.auc_reference:.3f}", interval, by_seed]))
    return "\n".join([*lines, ""])


def main() -> None:
    """Train, compare and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/starts"), help="Folder of the runs.")
    parser.add_argument("--seeds", type=int, default=3, help="Number of seeds; one shows nothing of their noise.")
    options = parser.parse_args()
    baselines = train(options.out, options.seeds)
    of_pretrained = [each for each in baselines if each.weights != "scratch"]
    write_text(PAGE, render([compare_weights(baselines), compare_weights(of_pretrained)], options.seeds))
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
