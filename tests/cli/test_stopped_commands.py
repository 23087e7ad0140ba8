"""Every command that writes, stopped at its writes by a full disk or by Ctrl-C and started again: the same files.

With FUSIONLN_EVERY_WRITE=FILE each is stopped at every single write, and FILE gets a line of each: see
`experiments/faults/stopped_writes.py`. Without, at few of them.
"""

import errno
import json
import os
import shutil
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pooch
import pytest
from optuna import load_study
from optuna.trial import TrialState
from PIL import Image
from tiny import CPU, FIT, FIT_TABLE, NETWORK, ONE_CPU, OPTIONS, build_cohort, fusionln, invoke, shortened

from fusion_ln.cohort import download
from fusion_ln.cohort.folder import save_cohort
from fusion_ln.files.formats import write_text
from fusion_ln.frozen.folder import LOG
from fusion_ln.frozen.freeze import freeze
from fusion_ln.training.run import run_baselines
from fusion_ln.tuning import study
from fusion_ln.tuning.storage import Heartbeat, open_storage

pytestmark = pytest.mark.usefixtures("short_pages", "quick")

HEAD = ("--set", "head.epochs=1", "--set", "head.width=8", "--set", "head.copies=1", "--set", "head.batch_size=8")
COMMANDS = {
    "phantom": "cohort phantom --patients 12 --image-size 32 --folds 2 --out {out}",
    "import": "cohort import table {made}/table.csv --folds 2 --out {out}",
    "baseline": "run baseline --modality 2d --cohort {made}/tiny --out {out}",
    "fusion": "run fusion --head concat --cohort {made}/tiny --out {out}",
    "pretrain": "pretrain --task {made}/a --task {made}/b --out {out}",
    "compare": "compare {made}/runs/baseline-2d {made}/runs/baseline-elastic --out {out}",
    "explain": "explain {made}/runs/baseline-2d --sample 1 --method ig --out {out}",
    "study": "study run {made}/study.toml --out {out} --device cpu --workers 1",
    "download": "cohort download ward --out {out}",
    "columns": "run baseline --clinical age --with {made}/runs/baseline-2d --cohort {made}/tiny --out {out}",
    "repeats": "run baseline --modality 2d --repeats 2 --cohort {made}/tiny --out {out}",
    "freeze": "freeze {made}/runs/baseline-2d --licence MIT --out {out}",
    "plan": "plan {made}/runs/baseline-2d {made}/runs/baseline-elastic --out {out}",
    "predict": "predict {made}/runs/baseline-2d --2d {made}/new.png --json {out}/a.json --csv {out}/a.csv",
    "audit": "audit {made}/runs/baseline-2d --device cpu --out {out}",
    "folds": "cohort folds {out} --folds 3 --seed 4",
    "stats": "cohort stats {made}/tiny --out {out}",
    "evaluate": "evaluate {made}/model --cohort {made}/other --out {out}",
    "export": "export {made}/model --onnx {out}/model.onnx --timm {out}/timm --hub {out}/hub",
    "croissant": "cohort export {made}/tiny --croissant {out}/croissant.json",
    "weights": "weights import {made}/model/weights/2d-1.safetensors --backbone test_resnet --out {out}/w.safetensors",
}
EVERY_WRITE = os.environ.get("FUSIONLN_EVERY_WRITE")
if EVERY_WRITE:  # those that train most
    COMMANDS |= {
        "finetune": "run fusion --head concat --finetune --cohort {made}/tiny --out {out}",
        "experiment": "run experiment {made}/experiment.toml --out {out} --device cpu --workers 1",
    }
OF_COMMAND = {
    **dict.fromkeys(("baseline", "repeats"), OPTIONS),
    **dict.fromkeys(("fusion", "finetune"), (*OPTIONS, "--precision", "32-true", "--set", "fit.head_width=8", *HEAD)),
    "pretrain": (*NETWORK, *ONE_CPU[:2]),
}
STUDY = f"""
name = "s"
question = "Does it resume?"
cohort = "tiny"
modalities = ["2d"]
{FIT_TABLE}[study]
trials = 2
[space.baseline]
lr = {{ low = 1e-4, high = 1e-2, log = true }}
"""
EXPERIMENT = f"""
name = "e"
question = "Does it resume?"
cohort = "tiny"
heads = ["late-mean"]
modalities = ["2d", "cdfi"]
{FIT_TABLE}"""
ARCHIVE = {"title": "Ward", "licence": "CC0", "citation": "Ward 2020", "page": "http://page"}
TIMED = (
    "run.json",
    "fold.json",
    "history.parquet",
    "learning_curves.csv",
    "time.csv",
    ".html",
    ".md",
)  # hold seconds or the date


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A cohort, finished baselines of it, two tasks of a pre-training, and a table to import."""
    root = tmp_path_factory.mktemp("made")
    cohort = build_cohort(root, 18)
    cohort.patients["age"] = range(18)
    save_cohort(cohort)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSIONLN_CACHE", str(root / "cache"))
        run = run_baselines(cohort, cohort.modalities, FIT, root / "runs", device=CPU)[0]
        with shortened():
            freeze(run, root / "model", licence="MIT")
    build_cohort(root, 18, modalities=("2d",), name="other", seed=8)
    grey = cohort.images[cohort.images["modality"] == "2d"]
    for name in ("a", "b"):
        save_cohort(replace(cohort, root=root / name, name=name, modalities=("2d",), images=grey))
    paths = grey["path"].map(lambda path: cohort.root / path)
    table = cohort.patients[["patient_id", "label"]].assign(modality="2d", path=paths.to_numpy())
    table.assign(label=table["label"].map(str)).to_csv(root / "table.csv", index=False)
    (root / "study.toml").write_text(STUDY)
    (root / "experiment.toml").write_text(EXPERIMENT)
    Image.new("RGB", (40, 40), (90, 60, 30)).save(root / "new.png")
    with zipfile.ZipFile(root / "ward.zip", "w") as file:
        for number in range(20):
            file.writestr(f"{number}.png", b"picture")
    return root


@pytest.fixture
def quick(made, monkeypatch):
    """Trials given up at once, and a download without a server."""
    monkeypatch.setattr(study, "LOOKS", 1)
    if not EVERY_WRITE:
        monkeypatch.setattr("fusion_ln.external.evaluate.write_evaluation", write_short_page)
        monkeypatch.setattr("fusion_ln.frozen.comparison.write_without_patients", write_short_report)
    monkeypatch.setattr(Heartbeat.__init__, "__defaults__", (0.05, 0.2))
    archive = (made / "ward.zip").read_bytes()
    described = ARCHIVE | {"download": {"files": [{"name": "ward.zip", "url": "http://ward/ward.zip"}]}}
    monkeypatch.setattr(download, "manifest_names", lambda: ["ward"])
    monkeypatch.setattr(download, "load_manifest", lambda name: described)
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", lambda self, url, file, _: Path(file).write_bytes(archive))


def write_short_page(out):
    """Stand for the page of an evaluation, which takes most of its time."""
    write_text(out / "tables.csv", "cells")
    write_text(out / "report.html", "page")
    return out / "report.html"


def write_short_report(page, *_, **__):
    """Stand for the comparison report of a model."""
    write_text(page, "page")


class Stop:
    """Counter of writes; at number ``at`` the disk is full, or the user stops the command."""

    def __init__(self, patch, at=0, error=None):
        self.seen, self.at, self.error = 0, at, error
        for place, name in ((os, "fsync"), (Path, "write_bytes"), (zipfile.ZipFile, "extract")):
            patch.setattr(place, name, self.before(getattr(place, name)))

    def before(self, write):
        def counted(*arguments):
            if threading.current_thread().daemon:  # a heartbeat
                return write(*arguments)
            self.seen += 1
            if self.seen == self.at:
                raise self.error
            return write(*arguments)

        return counted


def command_of(name, made, out):
    if name in ("fusion", "finetune"):  # the baselines are there
        shutil.copytree(made / "runs", out, dirs_exist_ok=True)
    if name == "folds":
        shutil.copytree(made / "tiny", out)
    if name == "evaluate":  # no earlier look
        (made / "model" / LOG).unlink(missing_ok=True)
    return [*COMMANDS[name].format(made=made, out=out).split(), *OF_COMMAND.get(name, ())]


def content(folder):
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: None if name.endswith(TIMED) else read(path) for name, path in sorted(files.items())}


def read(path):
    if path.suffix != ".journal":
        return path.read_bytes()
    trials = load_study(study_name="s/baseline-2d", storage=open_storage(str(path))).trials
    return sorted((t.params["lr"], t.value) for t in trials if t.state == TrialState.COMPLETE)


def reason(number):
    """Fill the disk at one stop, interrupt at the next."""
    return KeyboardInterrupt() if number % 2 else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_stopped_goes_on_to_the_same_files(name, made, tmp_path, monkeypatch):
    """It is stopped at write 1, started again and stopped at write 4 of that attempt, then at 16, 64 and so on."""
    out = tmp_path / "out"  # the same place twice: tables and figures may name models by their folders
    command = command_of(name, made, out)
    with monkeypatch.context() as patch:
        counted = Stop(patch)
        fusionln(*command)
    expected = content(out)

    def begin_afresh():
        shutil.rmtree(out)
        monkeypatch.setenv("FUSIONLN_CACHE", str(tmp_path / f"cache{len(outcomes)}"))
        command_of(name, made, out)

    def attempt(number):
        with monkeypatch.context() as patch:
            Stop(patch, number, reason(len(outcomes)))
            outcomes.append(invoke(*command))
        return outcomes[-1][0] == 0

    outcomes = []
    if EVERY_WRITE:
        for number in range(1, counted.seen + 1):
            begin_afresh()
            attempt(number)
            fusionln(*command)
            assert content(out) == expected, number
        with Path(EVERY_WRITE).open("a") as file:
            file.write(json.dumps({"command": name, "writes": counted.seen}) + "\n")
    else:
        begin_afresh()
        while not attempt(4 ** len(outcomes)):
            assert len(outcomes) < 9, outcomes[-1]
        assert content(out) == expected
        assert len(outcomes) > 1 + (counted.seen > 3)
        outcomes.pop()
    texts = ["interrupted" if number % 2 else "no space left" for number in range(len(outcomes))]
    assert all(text in output.lower() for text, (_, output) in zip(texts, outcomes, strict=True))
    assert [code for code, _ in outcomes] == [1 if "space" in text else 130 for text in texts]
