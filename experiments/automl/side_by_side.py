"""fusion_ln beside AutoGluon-Multimodal on simulated patients: pictures per second, and seconds to an AUC of 0.90.

Question  What does a general package for tables with pictures take for the same patients, folds and network?
Command   python experiments/automl/side_by_side.py --python PATH
Time      10 minutes on two idle cores
Expect    fusion_ln trains 1.7 times the pictures per second, 2.7 times with its own precision, and reaches 0.90 after
          124 s, to the error of one seed; AutoGluon stands at 0.84 after 157 s
          (it writes benchmarks/automl.md and .csv)

PATH is the Python of an environment of the package's own:
`python3.11 -m venv automl && automl/bin/pip install autogluon.multimodal==1.6.3` makes `automl/bin/python`.
Both train from random weights, and with each budget of epochs in turn, until the out-of-fold AUC of one reaches 0.90;
that one then rests. A turn is a process: wall time runs from its start, so with imports and the reading of pictures, to
its predictions. Peak memory is that of all its processes, each second.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from fusion_ln.bench.page import describe_origin, table_head, table_row
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.default import simulate_phantom
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.files.formats import write_json, write_text
from fusion_ln.metrics import PRIMARY, score
from fusion_ln.terms import LABEL, PATH, PATIENT

HERE = Path(__file__).parent
TABLE = HERE.parent / "benchmarks" / "automl.csv"
TARGET = 0.90
RATES = {"fusion_ln": 3e-3, "AutoGluon": 1e-3}  # ours by default; of 3e-4, 1e-3, 3e-3 AutoGluon's best on two folds
MAKE = (
    "is no Python with AutoGluon-Multimodal. Make one: `python3.11 -m venv automl && automl/bin/pip install "
    "autogluon.multimodal==1.6.3`, then give `--python automl/bin/python`."
)


@dataclass(frozen=True)
class Contestant:
    """A way to train: its title, interpreter, script, and changes of the plan."""

    title: str
    python: str
    script: str
    changes: dict[str, object] = field(default_factory=dict)


def has_package(python: str) -> bool:
    """Test if the package can be imported by an interpreter."""
    check = [python, "-c", "import autogluon.multimodal"]
    return Path(python).is_file() and subprocess.run(check, capture_output=True, check=False).returncode == 0


def contestants(python: str) -> list[Contestant]:
    """List them in the order of the first turn."""
    return [
        Contestant("AutoGluon", python, "package.py", {"lr": RATES["AutoGluon"]}),
        Contestant("fusion_ln", sys.executable, "ours.py", {"precision": "32-true"}),
        Contestant("fusion_ln, as by default", sys.executable, "ours.py"),
    ]


def write_table(cohort: Cohort, file: Path) -> pd.DataFrame:
    """Write a row per patient: class, the path of the picture of each modality, fold, and inner validation."""
    table = cohort.folds.merge(cohort.patients[[PATIENT, LABEL]], on=PATIENT)
    table[LABEL] = [cohort.classes[label] for label in table[LABEL]]
    for modality in cohort.modalities:
        paths = cohort.images_of(modality).set_index(PATIENT)[PATH].map(lambda path: str(cohort.picture_path(path)))
        table[modality] = table[PATIENT].map(paths)
    write_text(file, table.to_csv(index=False))
    return table


def take_turn(who: Contestant, plan: dict[str, object], folder: Path) -> dict[str, Any]:
    """Let one train and predict every fold; return what it wrote, wall time and peak memory.

    Raises:
        SystemExit: If it fails; with the end of its log.
    """
    sys.path.append(str(HERE.parent / "serving"))
    from server_process import memory_of

    folder.mkdir(parents=True)
    out, log = folder / "found.json", folder / "log.txt"
    write_json(folder / "plan.json", {**plan, **who.changes, "folder": str(folder / "fits"), "out": str(out)})
    variables = os.environ | {"FUSIONLN_CACHE": str(folder / "cache")}  # its pictures are read anew
    began, peak = time.perf_counter(), 0.0
    with log.open("w") as file:
        command = [who.python, str(HERE / who.script), str(folder / "plan.json")]
        process = subprocess.Popen(command, stdout=file, stderr=file, env=variables, cwd=folder)
        while process.poll() is None:
            peak = max(peak, memory_of(process.pid))
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:
                continue
    seconds = time.perf_counter() - began
    if process.returncode or not out.is_file():
        raise SystemExit(f"{who.title} failed:\n{log.read_text()[-3000:]}")
    return {**json.loads(out.read_text(encoding="utf-8")), "wall": seconds, "peak": peak}


def auc_of(found: dict[str, Any], cohort: Cohort) -> float:
    """Compute the macro AUC of the predictions of all patients, each once."""
    predicted = pd.DataFrame(found["predictions"]).set_index(PATIENT)
    labels = cohort.patients.set_index(PATIENT)[LABEL]
    if sorted(predicted.index) != sorted(labels.index):
        raise SystemExit(f"{len(predicted)} predictions, not one for each of {len(labels)} patients.")
    probs = predicted.loc[labels.index, list(cohort.classes)].to_numpy()
    return float(score(labels.to_numpy(), probs, cohort.classes)[PRIMARY][0])


def climb(options: argparse.Namespace, cohort: Cohort, folder: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Let them take turns with ever more epochs; return a row per turn, and the package's versions."""
    plan = {
        "table": str(folder / "table.csv"), "cohort": str(cohort.root), "modalities": list(cohort.modalities),
        "classes": list(cohort.classes), "folds": cohort.n_folds, "backbone": options.backbone,
        "image_size": options.image_size, "batch_size": options.batch_size, "lr": RATES["fusion_ln"],
        "precision": "auto",
    }  # fmt: skip
    write_table(cohort, folder / "table.csv")
    rows: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    climbing = contestants(options.python)
    for rung, epochs in enumerate(options.epochs):
        for who in climbing[:: -1 if rung % 2 else 1]:
            found = take_turn(who, {**plan, "epochs": epochs}, folder / f"{len(rows)}")
            versions |= found.get("versions", {})
            rate, whole = found["pictures"] / found["seconds"], found["pictures"] / found["wall"]
            row = {
                "contestant": who.title, "epochs": epochs, "precision": found["precision"],
                "epochs_trained": round(sum(found["epochs"]) / len(found["epochs"]), 1),
                "pictures": round(found["pictures"]), "rate": round(rate, 1), "whole_rate": round(whole, 1),
                "wall_seconds": round(found["wall"], 1), "auc": round(auc_of(found, cohort), 4),
                "peak_gb": round(found["peak"] / 1e9, 2), "load": round(os.getloadavg()[0], 1),
            }  # fmt: skip
            rows.append(row)
            print(*row.values(), sep=" | ", flush=True)
        reached = {row["contestant"] for row in rows if row["auc"] >= TARGET}
        climbing = [who for who in climbing if who.title not in reached]
    return pd.DataFrame(rows), versions


def time_to_target(rows: pd.DataFrame) -> str:
    """Say when a contestant reached the AUC, or how near it came."""
    best = rows.iloc[rows["auc"].argmax()]
    if best["auc"] < TARGET:
        return f"not reached ({best['auc']:.3f} after at most {best['epochs']} epochs, {best['wall_seconds']:.0f} s)"
    return f"{best['wall_seconds']:.0f} s (at most {best['epochs']} epochs, AUC {best['auc']:.3f})"


def render(table: pd.DataFrame, cohort: Cohort, options: argparse.Namespace, origin: str) -> str:
    """Write the page."""
    patients = len(cohort.patients)
    lines = [
        "# Beside a general package for tables with pictures", "", origin, "",
        f"{patients} **simulated** patients, a picture each of {', '.join(cohort.modalities)}; {cohort.n_folds} folds "
        f"and their inner validation as fusion_ln draws them; {options.backbone} from random weights at "
        f"{options.image_size} px, batches of {options.batch_size}, at most the epochs of the table. "
        "AutoGluon sends the three pictures of a patient through one network (a batch is 48 pictures of 16 patients), "
        "averages the logits, and computes in float32 on a CPU, whatever it is told. fusion_ln trains a network per "
        "modality (a batch is 16 pictures of 16 patients), over-samples rare classes, and takes the mean of logits. "
        f"The rate is {RATES['fusion_ln']:g} in fusion_ln and {RATES['AutoGluon']:g} in AutoGluon, the best for it "
        "of 0.0003, 0.001 and 0.003 on two folds; its decay of the rate from layer to layer, made for trained weights, "
        "is off, and it validates once an epoch, so that the patience of both is 10 epochs. All else is as each does "
        "it by itself: augmentation, schedule, choice of epochs, processes.", "",
        "Pictures are counted as often as they are trained on, three per patient and epoch or, over-sampled, more. In "
        "training: while epochs run, validation included and, of AutoGluon, the files it writes meanwhile; of fits "
        "side by side, the sum. Whole: from the start of the process, so with its imports, to the predictions of "
        "all patients. AUC: macro, one against the rest, out of fold; one seed. Memory: of all processes of a turn, "
        "shared pages once.",
        "",
        *table_head(
            [
                "", "epochs at most", "precision", "epochs trained", "pictures trained", "pictures/s in training",
                "pictures/s whole", "wall time, s", "AUC", "peak memory, GB", "load at the end",
            ]
        ),
    ]  # fmt: skip
    lines += [table_row(map(str, row)) for row in table.itertuples(index=False)]
    lines += ["", f"## Wall time to an AUC of {TARGET:.2f}, and pictures per second", ""]
    lines += table_head(["", "wall time", "pictures/s in training, median", "beside AutoGluon", "whole, median"])
    rates = table.groupby("contestant", sort=False)["rate"].median()
    for name, rows in table.groupby("contestant", sort=False):
        ratio = f"{rates[name] / rates.iloc[0]:.2f}"
        lines.append(
            table_row(
                [str(name), time_to_target(rows), f"{rates[name]:.0f}", ratio, f"{rows['whole_rate'].median():.0f}"]
            )
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """Run all turns and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="", help="Python of the package's environment.")
    parser.add_argument("--patients", type=int, default=120)
    parser.add_argument("--epochs", type=int, nargs="+", default=[3, 15], help="Budgets, in rising order.")
    parser.add_argument("--backbone", default="resnet10t", help="A name of timm, of a network with global pooling.")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--out", type=Path, default=TABLE, help="Table; the page lies beside it.")
    options = parser.parse_args()
    if not has_package(options.python):
        parser.error(f"--python {options.python or 'PATH'}: {MAKE}")
    options.python = str(Path(options.python).absolute())  # not resolved: the link says of which environment it is
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        cohort = simulate_phantom(Path(folder) / "cohort", PhantomSettings(patients=options.patients))
        table, versions = climb(options, cohort, Path(folder))
        minutes = (time.monotonic() - began) / 60
        theirs = ", ".join(f"{name} {number}" for name, number in versions.items())
        origin = f"{describe_origin('torch', 'timm')} {minutes:.1f} minutes. AutoGluon's environment: {theirs}."
        page = render(table, cohort, options, origin)
    write_text(options.out, table.to_csv(index=False))
    write_text(options.out.with_suffix(".md"), page)
    print(page)


if __name__ == "__main__":
    main()
