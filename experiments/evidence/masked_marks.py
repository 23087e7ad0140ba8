"""Does filling texts and signs take a planted mark away, so that the audit finds nothing that a model relies on?

Question  Is a model caught that saw the marks, and none that learnt from the same pictures with `--mask-text`?
Command   python experiments/evidence/masked_marks.py [--seeds 1 2 3 4 5] [--work DIR]
Time      about 2 minutes a seed on a core; what is in --work is used again, so that it may be run seed by seed
Expect    benchmarks/masked_marks.md: "no sign" for every masked seed; the same pictures unmasked are those of
          benchmarks/shortcut_audit.md, where every model was caught

Per seed the phantom cohort of `shortcut_control.py` whose stamp goes with the label in 9 of 10 pictures, its texts
filled by rule as `cohort import --mask-text` does; a baseline of elastograms is trained on it and audited.
"""

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path

from shortcut_control import EPOCHS, IMAGE_SIZE, PATIENTS, PLANTED, cohort_of, row_of, train

from fusion_ln.bench.page import describe_origin
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import load_cohort, save_cohort
from fusion_ln.compute.device import accelerator_of
from fusion_ln.explain.shortcut.audit import audit_run
from fusion_ln.files.formats import write_text
from fusion_ln.records.origin import RECORDED_PACKAGES
from fusion_ln.report.shortcut import read_audit
from fusion_ln.settings.devices import DeviceSettings

PAGE = Path(__file__).parents[1] / "benchmarks" / "masked_marks.md"
MODALITY = "elastic"


def masked(stamped: Cohort, folder: Path) -> Cohort:
    """The same cohort as an import with `--mask-text` would make it; its truth goes with it."""
    if not (folder / "cohort.toml").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(stamped.root / "truth.parquet", folder)
        details = stamped.details.model_copy(update={"mask_text": True})
        save_cohort(replace(stamped, root=folder, details=details))
    return load_cohort(folder)


def audited(seed: int, work: Path, device: DeviceSettings) -> dict[str, object]:
    """Train and audit the masked cohort of a seed."""
    place = work / f"seed={seed}"
    cohort = masked(cohort_of(place / "stamped", seed, PLANTED), place / "masked")
    [run] = train(cohort, [MODALITY], place / "runs", seed, device)
    if not (run.audit / "audit.json").is_file():
        audit_run(run, cohort.root, run.audit, device=accelerator_of(device))
    row = row_of(seed, PLANTED, run, read_audit(run.audit).assessment)
    return {name: value for name, value in row.items() if name not in ("shortcut", "as planted")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--work", type=Path, default=Path("runs/masked_marks"), help="What is there is used again.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    started = time.monotonic()
    rows = [audited(seed, options.work, DeviceSettings(device=options.device)) for seed in options.seeds]
    caught = sum(row["relies"] == "yes" for row in rows)
    lines = ["# The shortcut audit on models whose pictures were masked", "", "Simulated patients.", ""]
    lines += [f"Texts filled (`--mask-text`): {caught} of {len(rows)} models said to rely on something else.", ""]
    lines += ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    lines += ["| " + " | ".join(map(str, row.values())) + " |" for row in rows]
    lines += ["", "Unmasked, the same pictures gave 5 of 5: see [shortcut_audit.md](shortcut_audit.md).", ""]
    seconds = time.monotonic() - started
    lines += [f"{PATIENTS} patients, {IMAGE_SIZE} px, resnet10t, {EPOCHS} epochs, five folds. {seconds:.0f} s."]
    write_text(options.out, "\n".join([*lines, describe_origin(*RECORDED_PACKAGES)]) + "\n")
    print(f"Wrote {options.out}: {caught} of {len(rows)}")


if __name__ == "__main__":
    main()
