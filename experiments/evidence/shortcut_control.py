"""Does the shortcut audit tell models with a shortcut from models without one? Positive and negative control.

Question  Is every model that had a planted shortcut caught, and no model that had none, over five seeds each?
Command   python experiments/evidence/shortcut_control.py
Time      about 25 minutes on two cores; one seed of one modality (--seeds 1 --modality elastic) 2 to 3
Expect    with `--shortcut 0.9` every run "relies on something outside the node", without it none does; of simulated
          audits of models that rely on nothing fewer than 1 in 100 raise an alarm

Per seed one phantom cohort with a stamp that goes with the label in 9 of 10 pictures and one without any stamp; on each
a baseline per modality and, of all three, their late fusion, each audited as `fusionln audit` does.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from fusion_ln.bench.page import describe_origin
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.phantom.simulate import simulate_cohort
from fusion_ln.compute.device import accelerator_of
from fusion_ln.evaluation.shortcut import (
    FRAME_ONLY,
    NODE_HIDDEN,
    PROBE,
    TEXTS_PAINTED,
    UNALTERED,
    ShortcutAssessment,
    assess_shortcuts,
)
from fusion_ln.explain.shortcut.audit import audit_run
from fusion_ln.files.formats import write_text
from fusion_ln.predictions import Predictions, predictions_from_logits
from fusion_ln.progress import progress, say
from fusion_ln.records.origin import RECORDED_PACKAGES
from fusion_ln.report.shortcut import read_audit, write_audit_page
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import resolve_fit
from fusion_ln.terms import KNOWN_MODALITIES
from fusion_ln.training.run import run_baselines, run_fusions

PLANTED = 0.9
PATIENTS, IMAGE_SIZE, EPOCHS = 160, 64, 12
CLASSES = ("benign", "lymphoma", "metastatic")
TABLE = Path(__file__).parents[1] / "benchmarks" / "shortcut_audit.md"


def cohort_of(folder: Path, seed: int, shortcut: float) -> Cohort:
    if (folder / "cohort.toml").is_file():
        return load_cohort(folder)
    return simulate_cohort(folder, n_patients=PATIENTS, image_size=IMAGE_SIZE, seed=seed, shortcut=shortcut)


def train(cohort: Cohort, modalities: list[str], out: Path, seed: int, device: DeviceSettings) -> list[RunFolder]:
    fit = resolve_fit("fast", {"image_size": IMAGE_SIZE, "epochs": EPOCHS}, "shortcut_control")
    baselines = run_baselines(cohort, modalities, fit, out, protocol="nested", seed=seed, device=device)
    if len(modalities) < 2:
        return baselines
    return baselines + run_fusions(cohort, baselines, {"late-mean": None}, out, seed=seed, device=device)


def row_of(seed: int, shortcut: float, run: RunFolder, assessment: ShortcutAssessment) -> dict[str, object]:
    def auc(name: str) -> str:
        row = assessment.of(name)
        return f"{row.auc:.3f} ({row.ci_low:.3f} to {row.ci_high:.3f})"

    texts = assessment.of(TEXTS_PAINTED)
    return {
        "shortcut": shortcut,
        "seed": seed,
        "model": run.name,
        "AUC": auc(UNALTERED),
        "node hidden": auc(NODE_HIDDEN),
        "only frame and texts": auc(FRAME_ONLY),
        "texts painted over": f"{texts.change:+.3f} ({texts.change_low:+.3f} to {texts.change_high:+.3f})",
        "model of the frame": auc(PROBE),
        "relies": "yes" if assessment.relies else "no",
        "as planted": "yes" if assessment.relies == (shortcut > 0) else "NO",
    }


def control(seeds: list[int], modalities: list[str], work: Path, device: DeviceSettings) -> pd.DataFrame:
    """One row per audited run."""
    rows = []
    for seed in seeds:
        for shortcut in (PLANTED, 0.0):
            place = work / f"seed={seed}-shortcut={shortcut}"
            cohort = cohort_of(place / "cohort", seed, shortcut)
            for run in train(cohort, modalities, place / "runs", seed, device):
                if not (run.audit / "audit.json").is_file():  # written last: the audit is whole
                    audit_run(run, cohort.root, run.audit, device=accelerator_of(device))
                read = read_audit(run.audit)
                write_audit_page(read)
                rows.append(row_of(seed, shortcut, run, read.assessment))
                say(str(rows[-1]))
    return pd.DataFrame(rows)


def false_alarms(n_audits: int, n_patients: int = 150) -> int:
    """Alarms in simulated audits of models that tell nothing without the node and do not read texts.

    The folds' models lean differently, as they do on strange pictures.
    """
    alarms = 0
    with progress("Simulated audits", n_audits) as step, threadpool_limits(1):
        for number in range(n_audits):
            rng = np.random.default_rng(number)
            unaltered = _say(rng, n_patients, 2.0, 0.0)
            predictions = {
                UNALTERED: unaltered,
                **{n: _say(rng, n_patients, 0.0, 1.0) for n in (NODE_HIDDEN, FRAME_ONLY)},
            }
            shaken = unaltered.logits + 0.3 * rng.normal(size=unaltered.logits.shape)
            predictions[TEXTS_PAINTED] = _as_predictions(unaltered.labels, shaken)
            alarms += assess_shortcuts(predictions, n_resamples=500).relies
            step("")
    return alarms


def _say(rng: np.random.Generator, n: int, skill: float, lean: float) -> Predictions:
    labels = np.arange(n) % 3
    shift = lean * rng.normal(size=(5, 3))[np.arange(n) % 5]
    return _as_predictions(labels, rng.normal(size=(n, 3)) + skill * np.eye(3)[labels] + shift)


def _as_predictions(labels: np.ndarray, logits: np.ndarray) -> Predictions:
    n = len(labels)
    return predictions_from_logits(CLASSES, [f"P{i:04d}" for i in range(n)], np.arange(n) % 5, labels, logits)


def page(table: pd.DataFrame, alarms: int, n_audits: int, seconds: float) -> str:
    """The benchmark's page, in Markdown."""
    lines = ["# The shortcut audit on models with and without a planted shortcut", "", "Simulated patients.", ""]
    for shortcut, group in table.groupby("shortcut", sort=False):
        caught = int((group["relies"] == "yes").sum())
        lines.append(f"- Shortcut {shortcut:g}: {caught} of {len(group)} models said to rely on something else.")
    if n_audits:
        lines.append(
            f"- Simulated audits (150 patients) of models that rely on nothing: {alarms} alarms in {n_audits}."
        )
    lines += ["", "| " + " | ".join(table.columns) + " |", "|" + " --- |" * table.shape[1]]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    lines += [
        "",
        "AUC: mean of each class against the rest, each fold's mean logit taken off, with its 95 % BCa interval; texts "
        "painted over: change in AUC, paired. The rule is that of `fusion_ln/evaluation/shortcut.py`.",
        "",
        f"{PATIENTS} patients, {IMAGE_SIZE} px, resnet10t, {EPOCHS} epochs, five folds. {seconds:.0f} s.",
        describe_origin(*RECORDED_PACKAGES),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument(
        "--modality", choices=tuple(KNOWN_MODALITIES), action="append", help="All three, and their fusion, without."
    )
    parser.add_argument("--simulated-audits", type=int, default=1000, help="For the rate of false alarms.")
    parser.add_argument("--work", type=Path, default=Path("runs/shortcut_control"), help="What is there is used again.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    started = time.monotonic()
    device = DeviceSettings(device=options.device)
    table = control(options.seeds, options.modality or list(KNOWN_MODALITIES), options.work, device)
    alarms = false_alarms(options.simulated_audits) if options.simulated_audits else 0
    write_text(options.out, page(table, alarms, options.simulated_audits, time.monotonic() - started))
    print(table.to_string(index=False))
    print(f"Wrote {options.out}")


if __name__ == "__main__":
    main()
