"""Damaged files of every kind through the real commands: a message or an answer, and never a traceback."""

import json
import random
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import timm
import tomli_w
import torch
from cines import write_cines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tiny import CPU, FIT, NETWORK, ONE_CPU, OPTIONS, build_cohort, draw_few, fusionln, invoke, shortened

from fusion_ln.cohort.folder import save_cohort
from fusion_ln.errors import DivergedError
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.freeze import freeze
from fusion_ln.training.run import run_baselines, run_fusions
from fusion_ln.tuning.results import FOLD_SCORES, IDENTITY
from fusion_ln.tuning.storage import open_storage

JUNK = [
    None,
    -1,
    0,
    2.5,
    10**30,
    float("nan"),
    float("inf"),
    "x",
    "",
    [],
    {},
    True,
    [1, 2],
    {"a": 1},
    "é" * 300,
    "2d",
    "../..",
]
CELLS = ["", "NA", "x", '"', "inf", "1e999", "-1", "../../etc/passwd", "é" * 500, "=1+1", "\x00", "1,5"]
EXPERIMENT = """name = "e"
question = "Does it?"
cohort = "cohort"
heads = ["late-mean", "concat"]
modalities = ["2d", "cdfi"]
seeds = [0, 1]
fit = { backbone = "test_resnet", image_size = 32, epochs = 1, batch_size = 4, head_width = 8 }
head = { width = 16 }
study = { trials = 2 }
space = { baseline = { lr = { low = 1e-4, high = 1e-2, log = true } } }
"""
# Files that are damaged, the command that reads them, and the number of tries.
RUNS = [f"{{}}/runs/{name}" for name in ("baseline-2d", "baseline-cdfi", "fusion-late-weighted")]
PICTURE = ["--2d", "{}/cohort/images/P001-2d-0.png"]
NEW = ["--cohort", "{}/cohort", "--out", "{}/new"]
COSTS = "truth,benign,biopsy\nbenign,0,1\nlymphoma,5,1\nmetastatic,10,1\n"
TASKS = (*NETWORK, *ONE_CPU[:2])
PROTOCOL = """title = "p"
endpoint = "auc_ovr"
margin = 0.05
subgroups = ["site"]
"""
STUDY = ["{}/e.toml", "--storage", "{}/study.journal", "--out", "{}/page"]
OTHER = ["--cohort", "{}/other"]
TEST_NETWORK = ["--backbone", NETWORK[1]]
W = "w.safetensors"
IN_TWO = ["--folds", "2"]
CINES = ["--frames", "2", *IN_TWO]
GROUPS = {
    "check": ("cohort", ["cohort", "check", "{}/cohort"], 12),
    "stats": ("cohort", ["cohort", "stats", "{}/cohort"], 8),
    "folds": ("cohort", ["cohort", "folds", "{}/cohort", "--folds", "2"], 12),
    "import": ("wide.csv", ["cohort", "import", "table", "{}/wide.csv", "--folds", "2", "--out", "{}/new"], 16),
    "stats of a table": ("wide.csv", ["cohort", "stats", "{}/wide.csv"], 16),
    "predict": ("runs", ["predict", RUNS[-1], *PICTURE], 20),
    "model-predict": ("model", ["predict", "{}/model", *PICTURE, "--json", "{}/answer.json"], 8),
    "costs": ("costs.csv", ["predict", "{}/model", *PICTURE, "--costs", "{}/costs.csv"], 5),
    "freeze": ("runs", ["freeze", RUNS[-1], "--licence", "MIT", "--out", "{}/new"], 4),
    "plan": ("runs", ["plan", RUNS[-1], RUNS[0], "--out", "{}/page"], 4),
    "verify": ("runs", ["verify", "{}/runs"], 5),
    "columns": ("cohort", ["run", "baseline", "--clinical", "age,sex", "--with", RUNS[0], *NEW], 5),
    "repeats": ("cohort", ["run", "baseline", "--modality", "2d", "--repeats", "2", *OPTIONS, *NEW], 4),
    "compare": ("runs", ["compare", *RUNS, "--out", "{}/page"], 3),
    "experiment": ("e.toml", ["run", "experiment", "{}/e.toml", "--out", "{}/runs"], 20),
    "study": ("study.journal", ["study", "show", *STUDY], 25),
    "explain": ("runs", ["explain", RUNS[0], "--sample", "1", "--out", "{}/page"], 6),
    "audit": ("runs", ["audit", RUNS[0], "--device", "cpu", "--out", "{}/page"], 4),
    "evaluate": ("other", ["evaluate", "{}/model", "--cohort", "{}/other", "--out", "{}/page"], 4),
    "model-evaluate": ("model", ["evaluate", "{}/model", "--cohort", "{}/other", "--out", "{}/page"], 4),
    "protocol": ("p.toml", ["evaluate", "{}/model", "--cohort", "{}/other", "--protocol", "{}/p.toml"], 5),
    "pretrain": ("framed", ["pretrain", "--task", "{}/framed", *TASKS, "--out", "{}/page"], 4),
    "fusion": ("cohort", ["run", "fusion", "--head", "concat", *OPTIONS, *NEW], 4),
    "import of nodes": ("nodes.csv", ["cohort", "import", "table", "{}/nodes.csv", *IN_TWO, "--out", "{}/new"], 4),
    "nodes": ("nodes", ["cohort", "check", "{}/nodes"], 3),
    "columns of nodes": ("nodes", ["run", "baseline", "--clinical", "age", "--cohort", "{}/nodes", *NEW[2:]], 3),
    "cines": ("cines", ["cohort", "import", "table", "{}/cines/cines.csv", *CINES, "--out", "{}/new"], 4),
    "predicted frames": ("framed", ["predict", "{}/model", "--cohort", "{}/framed"], 3),
    "croissant": ("cohort", ["cohort", "export", "{}/cohort", "--croissant", "{}/new.json"], 4),
    "weights": ("w.pth", ["weights", "inspect", "{}/w.pth", *TEST_NETWORK], 5),
    "import of weights": (W, ["weights", "import", f"{{}}/{W}", *TEST_NETWORK, "--out", "{}/new.safetensors"], 6),
    "exported run": ("runs", ["export", RUNS[-1], "--csv", "{}/new.csv"], 4),
    "model-export": ("model", ["export", "{}/model", "--timm", "{}/timm", "--hub", "{}/hub"], 3),
    "model-explain": ("model", ["explain", "{}/model", *OTHER, "--sample", "1", "--out", "{}/page"], 3),
    "model-verify": ("model", ["verify", "{}/model"], 4),
    "model-serve": ("model", ["serve", "{}/model", "--port", "0"], 4),
    "model-predict a cohort": ("model", ["predict", "{}/model", *OTHER, "--csv", "{}/new.csv"], 2),
    "predicted cohort": ("other", ["predict", "{}/model", *OTHER, "--csv", "{}/new.csv"], 3),
    "fused runs": ("runs", ["run", "fusion", *OPTIONS, "--cohort", "{}/cohort", "--out", "{}/runs"], 6),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A cohort, its table, two baselines, their fusion, frozen too, costs, an experiment, and a study of two trials."""
    root = tmp_path_factory.mktemp("sound")
    cohort = build_cohort(root, 12, name="cohort")
    numbers = np.arange(12)
    calls, suspicion = np.where(numbers % 4, "benign", "lymphoma"), numbers % 5
    columns = {"age": 20 + 3 * numbers, "sex": np.where(numbers % 3, "f", "m")}
    columns |= {"reader:Li": calls, "reader:Li:benign": suspicion}
    cohort.patients[list(columns)] = pd.DataFrame(columns)
    save_cohort(cohort)
    wide = cohort.patients[["patient_id", "label", "site", *columns]]
    paths = {m: "cohort/" + cohort.images_of(m)["path"].to_numpy() for m in ("2d", "cdfi")}
    wide.assign(label=wide["label"].map(dict(enumerate(cohort.classes))), **paths).to_csv(
        root / "wide.csv", index=False
    )
    members = run_baselines(cohort, ["2d", "cdfi"], FIT, root / "runs", device=CPU)
    fusions = run_fusions(cohort, members, {"late-weighted": None}, root / "runs", device=CPU)
    with shortened():
        freeze(fusions[0], root / "model", licence="MIT")
    (root / "costs.csv").write_text(COSTS)
    (root / "e.toml").write_text(EXPERIMENT)
    (root / "p.toml").write_text(PROTOCOL)
    build_cohort(root, 12, modalities=("2d", "cdfi"), name="other", seed=8)
    save_nodes(wide.assign(**paths), root)
    write_cines(root / "cines")
    fusionln("cohort", "import", "table", root / "cines" / "cines.csv", *CINES, "--out", root / "framed")
    network = timm.create_model(NETWORK[1], num_classes=3).state_dict()
    torch.save(network, root / "w.pth")
    save_file(network, root / W)
    study = optuna.create_study(study_name="e/baseline-2d", storage=open_storage(str(root / "study.journal")))
    record = {"space": {"lr": [1, 2]}, "objectives": ["loss"], "folds": [0], "sampler": "tpe", "seed": 0}
    study.set_user_attr(IDENTITY, {**record, "cohort": cohort.describe().model_dump(mode="json")})
    for value in (0.5, 0.6):
        trial = study.ask()
        trial.suggest_categorical("lr", [1, 2])
        trial.set_user_attr(FOLD_SCORES, [{"loss": 0.5, "seconds": 1.0}])
        study.tell(trial, value)
    return root


def save_nodes(wide, root):
    """Write a table of six patients with two nodes each, and its cohort."""
    numbers = np.arange(12)
    columns = {"patient_id": numbers % 6, "node_id": numbers // 6 + 1, "label": np.where(numbers % 2, "a", "b")}
    wide[["2d", "cdfi"]].assign(age=30 + numbers % 6, **columns).to_csv(root / "nodes.csv", index=False)
    fusionln("cohort", "import", "table", root / "nodes.csv", "--folds", "2", "--out", root / "nodes")


@pytest.fixture
def quick(monkeypatch, undrawn):
    """Commands that draw nothing, train nothing and resample little."""
    draw_few(monkeypatch, 20)
    monkeypatch.setattr("fusion_ln.report.study._plots", lambda *arguments: {})
    for place in ("tuning.plan", "training.experiment"):  # first the one that takes its own name for the other's
        monkeypatch.setattr(f"fusion_ln.{place}.run_experiment", lambda *arguments, **named: [])
    monkeypatch.setattr("fusion_ln.report.experiment.write_experiment", lambda *arguments, **named: {"page": Path("x")})
    monkeypatch.setattr("fusion_ln.cli.run.tune_and_apply", lambda *arguments: None)
    monkeypatch.setattr("fusion_ln.training.run.train_baselines", lambda *arguments: None)
    monkeypatch.setattr("fusion_ln.external.evaluate.write_evaluation", lambda out: out / "report.html")
    for place in ("training.pretraining.pretrain.fit", "explain.shortcut.audit._predict_all", "explain.run._claim"):
        monkeypatch.setattr(f"fusion_ln.{place}", lambda *arguments, **named: give_up())
    monkeypatch.setattr("fusion_ln.serve.server.open_site", lambda *arguments: give_up())
    monkeypatch.setattr("fusion_ln.report.experiment.write_runs", lambda *arguments, **named: {"page": Path("x")})


def give_up():
    """Stand for what takes long and reads nothing more."""
    raise DivergedError("The loss became nan at batch 1 of 1.", "Lower the rate (`--lr`).")


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_no_damaged_file_ends_in_a_traceback(sound, quick, tmp_path_factory, group):
    place, command, tries = GROUPS[group]
    folder = tmp_path_factory.mktemp("damaged")

    @settings(
        max_examples=tries, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(seed=st.integers(0, 2**32))
    def try_one(seed):
        rng = random.Random(seed)
        work = folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(sound, work)
        found = [file for file in (work / place, *(work / place).rglob("*")) if file.is_file()]
        kind = rng.choice(sorted({file.suffix for file in found}))  # pictures are most of the files
        done = damage(rng.choice(sorted(file for file in found if file.suffix == kind)), rng)
        if group.startswith("model-") and rng.random() < 0.7:  # its digest would tell of every damage
            ModelFolder(work / "model").write_digest()
        code, output = invoke(*(part.format(work) for part in command))
        assert code in (0, 1, 2), done
        assert "No such option" not in output, group
        assert code == 0 or len(output.strip()) > 20, done

    try_one()


def damage(path: Path, rng: random.Random) -> str:
    """Damage a file; returns what was done to it, which Hypothesis shows where a test fails."""
    content = path.read_bytes()
    whole: dict[str, Callable[[], object]] = {
        "deleted": path.unlink,
        "emptied": lambda: path.write_bytes(b""),
        "cut": lambda: path.write_bytes(content[: rng.randrange(len(content))]),
        "overwritten": lambda: path.write_bytes(rng.randbytes(rng.choice([1, 50, 5000]))),
        "reversed": lambda: path.write_bytes(content[::-1]),
        "flipped": lambda: path.write_bytes(flip(content, rng)),
        "in UTF-16": lambda: path.write_bytes(content.decode("latin-1").encode("utf-16")),
    }
    way = rng.choice([*whole, *["inside"] * len(whole)])
    if way in whole or path.suffix not in INSIDE:
        way = way if way in whole else "flipped"
        whole[way]()
    else:
        INSIDE[path.suffix](path, rng)
    return f"{path.name} {way}"


def flip(content: bytes, rng: random.Random) -> bytes:
    spoilt = bytearray(content)
    for _ in range(rng.choice([1, 1, 5, 50])):
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def spoil(value: object, rng: random.Random) -> object:
    """Replace, remove or rename something inside nested lists and dictionaries."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return rng.choice(JUNK)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = rng.choice(keys)
    if rng.random() < 0.75:
        value[key] = spoil(value[key], rng)
    elif isinstance(value, dict) and rng.random() < 0.5:
        value[f"{key}x"] = value.pop(key)
    else:
        del value[key]
    return value


def spoil_json(path: Path, rng: random.Random) -> None:
    path.write_text(json.dumps(spoil(json.loads(path.read_text()), rng)))


def spoil_journal(path: Path, rng: random.Random) -> None:
    lines = path.read_text().splitlines()
    place = rng.randrange(len(lines))
    lines[place] = json.dumps(spoil(json.loads(lines[place]), rng))
    path.write_text("\n".join([*lines, ""]))


def spoil_toml(path: Path, rng: random.Random) -> None:
    value = spoil(tomllib.loads(path.read_text()), rng)
    try:
        path.write_text(tomli_w.dumps(value))
    except (TypeError, AttributeError, ValueError):  # TOML holds no such value
        path.write_text(f"name = {value!r}")


def spoil_csv(path: Path, rng: random.Random) -> None:
    lines = [line.split(",") for line in path.read_text().splitlines()]
    line = rng.randrange(len(lines))
    way = rng.choice(["cell", "cell", "cell", "more", "twice", "header"])
    if way == "cell":
        lines[line][rng.randrange(len(lines[line]))] = rng.choice(CELLS)
    elif way == "header":
        lines[0] = rng.choice([lines[1], lines[0][::-1], [*lines[0], *lines[0]], [cell.upper() for cell in lines[0]]])
    else:
        lines.insert(line, lines[line] * (2 if way == "more" else 1))
    path.write_text("\n".join(",".join(cells) for cells in lines))


def spoil_table(path: Path, rng: random.Random) -> None:
    table = pd.read_parquet(path)
    name = rng.choice(list(table))
    ways: dict[str, Callable[[], pd.DataFrame]] = {
        "without a column": lambda: table.drop(columns=name),
        "texts": lambda: table.astype({name: str}),
        "gaps": lambda: table.assign(**{name: None}),
        "infinite": lambda: table.assign(**{name: np.inf}),
        "lists": lambda: table.assign(**{name: [[1, 2]] * len(table)}),
        "large": lambda: table.assign(**{name: rng.choice([7, -1, 10**12])}),
        "renamed": lambda: table.rename(columns={name: "x"}),
        "twice": lambda: pd.concat([table, table[:1]]),
        "half": lambda: table[: len(table) // 2],
        "empty": lambda: table[:0],
    }
    ways[rng.choice(list(ways))]().to_parquet(path, index=False)


INSIDE: dict[str, Callable[[Path, random.Random], None]] = {
    ".json": spoil_json, ".journal": spoil_journal, ".toml": spoil_toml, ".csv": spoil_csv, ".parquet": spoil_table,
}  # fmt: skip
