"""Every command that writes, stopped at its writes by a full disk or by Ctrl-C and started again: the same files."""

import errno
import os
import shutil
from dataclasses import replace
from itertools import count, cycle
from pathlib import Path

import pytest
from tiny import CPU, FIT, ONE_CPU, OPTIONS, build_cohort, fusionln, invoke

from fusion_ln.cohort.cohort import save_cohort
from fusion_ln.training.run import run_baselines

pytestmark = pytest.mark.usefixtures("undrawn")

HEAD = ("--set", "head.epochs=1", "--set", "head.width=8", "--set", "head.copies=1", "--set", "head.batch_size=8")
COMMANDS = {
    "phantom": "cohort phantom --patients 12 --image-size 32 --folds 2 --out {out}",
    "import": "cohort import table {made}/table.csv --folds 2 --out {out}",
    "baseline": "run baseline --modality 2d --cohort {made}/tiny --out {out}",
    "fusion": "run fusion --head concat --cohort {made}/tiny --out {out}",
    "pretrain": "pretrain --task {made}/a --task {made}/b --out {out}",
    "compare": "compare {made}/runs/baseline-2d {made}/runs/baseline-elastic --out {out}",
    "explain": "explain {made}/runs/baseline-2d --sample 1 --method ig --out {out}",
    "audit": "audit {made}/runs/baseline-2d --device cpu --out {out}",
}
OF_COMMAND = {
    "baseline": OPTIONS,
    "fusion": (*OPTIONS, "--precision", "32-true", "--set", "fit.head_width=8", *HEAD),
    "pretrain": OPTIONS[: -len(ONE_CPU)] + ONE_CPU[:2],
}
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSIONLN_CACHE", str(root / "cache"))
        run_baselines(cohort, cohort.modalities, FIT, root / "runs", device=CPU)
    grey = cohort.images[cohort.images["modality"] == "2d"]
    for name in ("a", "b"):
        save_cohort(replace(cohort, root=root / name, name=name, modalities=("2d",), images=grey))
    paths = grey["path"].map(lambda path: cohort.root / path)
    table = cohort.patients[["patient_id", "label"]].assign(modality="2d", path=paths.to_numpy())
    table.assign(label=table["label"].map(str)).to_csv(root / "table.csv", index=False)
    return root


class Stop:
    """Counter of writes; at number ``at`` the disk is full, or the user stops the command."""

    def __init__(self, patch, at=0, error=None):
        self.seen, self.at, self.error = 0, at, error
        for place, name in ((os, "fsync"), (Path, "write_bytes")):
            patch.setattr(place, name, self.before(getattr(place, name)))

    def before(self, write):
        def counted(*arguments):
            self.seen += 1
            if self.seen == self.at:
                raise self.error
            return write(*arguments)

        return counted


def command_of(name, made, out):
    if name == "fusion":  # the baselines are there
        shutil.copytree(made / "runs", out, dirs_exist_ok=True)
    return [*COMMANDS[name].format(made=made, out=out).split(), *OF_COMMAND.get(name, ())]


def content(folder):
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: None if name.endswith(TIMED) else path.read_bytes() for name, path in sorted(files.items())}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_stopped_goes_on_to_the_same_files(name, made, tmp_path, monkeypatch):
    """It is stopped at write 1, started again and stopped at write 3 of that attempt, then at 9, 27 and so on."""
    fusionln(*command_of(name, made, tmp_path / "whole" / "out"))
    expected = content(tmp_path / "whole" / "out")
    command, outcomes = command_of(name, made, tmp_path / "cut" / "out"), []
    reasons = cycle([OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
    for attempt, error in zip(count(), reasons, strict=False):
        with monkeypatch.context() as patch:
            Stop(patch, 3**attempt, error)
            outcomes.append(invoke(*command))
        if outcomes[-1][0] == 0:
            break
    texts = ["no space left" if attempt % 2 == 0 else "Interrupted" for attempt in range(len(outcomes) - 1)]
    assert len(texts) > 1
    assert all(text in output for text, (_, output) in zip(texts, outcomes, strict=False))
    assert content(tmp_path / "cut" / "out") == expected
