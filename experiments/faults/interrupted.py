"""Does every command that writes survive kill -9 and a disk that is too small, in real processes?

Command: sudo python experiments/faults/interrupted.py [NAME ...]   (it mounts small tmpfs disks, so it needs root)
Expect: benchmarks/interrupted.md, a row per command: killed twice and started again; on a disk with room for half of
what it writes, and again with more. Every row ends with the files of an undisturbed run. Some 15 minutes, two cores.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from optuna.trial import TrialState

from fusion_ln.bench.page import describe_origin
from fusion_ln.cohort.folder import load_cohort, save_cohort
from fusion_ln.files.formats import write_text
from fusion_ln.tuning.storage import open_storage

PAGE = Path(__file__).parents[1] / "benchmarks" / "interrupted.md"
TINY = "--backbone test_resnet --image-size 32 --epochs 2 --batch-size 4 --device cpu --workers 1"
HEAD = "--set head.epochs=2 --set head.copies=1 --set head.width=16"
BASELINES = f"run fusion --head late-mean --cohort {{made}}/cohort --out {{made}}/runs {TINY}"
COMMANDS = {
    "cohort phantom": "cohort phantom --patients 40 --image-size 32 --folds 2 --out {out}",
    "cohort import": "cohort import table {made}/table.csv --folds 2 --out {out}",
    "cohort download": "cohort download ward --out {out}",
    "pretrain": f"pretrain --task {{made}}/a --task {{made}}/b --out {{out}} {TINY.removesuffix(' --workers 1')}",
    "run baseline": f"run baseline --modality 2d --cohort {{made}}/cohort --out {{out}} {TINY}",
    "run fusion, all heads": f"run fusion --head concat --cohort {{made}}/cohort --out {{out}} {TINY} {HEAD}",
    "run fusion, fine-tuned": "run fusion --head concat --finetune --set head.finetune.epochs=2 "
    f"--cohort {{made}}/cohort --out {{out}} {TINY} {HEAD}",
    "study run": "study run {made}/study.toml --out {out} --device cpu --workers 1",
    "explain": "explain {made}/runs/baseline-2d --sample 2 --out {out}",
    "audit": "audit {made}/runs/baseline-2d --device cpu --out {out}",
    "compare": "compare {made}/runs/fusion-late-mean {made}/runs/baseline-2d --out {out}",
    "run baseline, columns": "run baseline --clinical age,sex --with {made}/runs/baseline-2d --cohort {made}/cohort "
    "--out {out}",
    "run baseline, repeats": f"run baseline --modality 2d --repeats 2 --cohort {{made}}/cohort --out {{out}} {TINY}",
    "run baseline, parts": "run baseline --modality 2d --fractions 0.5,0.75 --cohort {made}/cohort --out {out} " + TINY,
    "freeze": "freeze {made}/runs/fusion-late-mean --licence CC0 --out {out}",
    "plan": "plan {made}/runs/fusion-late-mean {made}/runs/baseline-2d --out {out}",
    "evaluate": "evaluate {disk}/model --cohort {made}/other --out {out}",
    "cohort stats": "cohort stats {made}/cohort --out {out}",
    "run experiment": "run experiment {made}/experiment.toml --out {out} --device cpu --workers 1",
}
COPIED = {"evaluate": ("model",)}  # folders of what was made that a command writes into as well
STUDY = """name = "ward"
question = "Does it resume?"
cohort = "cohort"
heads = ["concat"]
[fit]
backbone = "test_resnet"
image_size = 32
epochs = 1
batch_size = 4
[study]
trials = 3
[space.baseline]
lr = { low = 1e-4, high = 1e-2, log = true }
"""
EXPERIMENT = """name = "ward-heads"
question = "Does it resume?"
cohort = "cohort"
heads = ["late-mean"]
modalities = ["2d", "cdfi"]
fit = { backbone = "test_resnet", image_size = 32, epochs = 1, batch_size = 4 }
"""
# Without the manifests of the package: the archive of this one lies on a server of this machine.
START = (
    "import sys, pathlib, fusion_ln.manifests as m; m._FOLDERS = (pathlib.Path(sys.argv.pop(1)), *m._FOLDERS); "
    "from fusion_ln.cli.main import cli; cli()"
)
SHARES = (0.25, 0.75)  # of the files of an undisturbed run, at which a command is killed
TIMED = re.compile(
    r'"(started|seconds|pictures_per_second|peak_memory_mib)": [^\n]*|\d{4}-\d\d-\d\d[T ]?[\d:.+]*|[\d.]+ minutes for|'
    r"median \d+ pictures/s|[\d.]+ s, [\d.]+ pictures/s|(?s:Time and speed of every fit.*?</table>)"
)
UNCOMPARED = ("history.parquet", "fold.json", "learning_curves.csv", "time.csv")  # hold seconds
POLL_SECONDS, PAGE_BYTES = 0.002, 4096


@dataclass(frozen=True)
class Row:
    """Outcome of one command; the texts are empty where all is well.

    Attributes:
        after_kill, after_full: Files that differ from those of the undisturbed run.
        message: Printed where the disk is too small.
    """

    name: str
    seconds: float
    killed: int
    after_kill: str
    message: str
    after_full: str

    @property
    def sound(self) -> bool:
        return bool(self.killed and self.message) and not (self.after_kill or self.after_full)


@dataclass(frozen=True)
class Place:
    """Folders of the trial; ``disk`` holds what a command writes: its folder ``out`` and the cache."""

    root: Path

    @property
    def made(self) -> Path:
        return self.root / "made"

    @property
    def disk(self) -> Path:
        return self.root / "disk"

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        words = command.format(made=self.made, disk=self.disk, out=self.disk / "out").split()
        return subprocess.Popen(
            [sys.executable, "-c", START, str(self.root / "manifests"), *words],
            env={**os.environ, "FUSIONLN_CACHE": str(self.disk / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, command: str, *, code: int = 0) -> str:
        """Run a command, which must end with this code; returns what it printed."""
        process = self.start(command)
        output, _ = process.communicate()
        if process.returncode != code or "Traceback" in output:
            raise RuntimeError(f"{command}: ended with {process.returncode}, not {code}:\n{output}")
        return output

    def kill_at(self, command: str, files: float, size: float) -> bool:
        """Kill a command as soon as so many files and bytes are there; returns False if it ended before."""
        process, out = self.start(command), self.disk / "out"
        while process.poll() is None and (len(files_of(out)) < files or size_of(out) < size):
            time.sleep(POLL_SECONDS)
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return process.returncode == -signal.SIGKILL

    def clear(self) -> None:
        shutil.rmtree(self.disk, ignore_errors=True)
        self.disk.mkdir(parents=True)

    def fill(self, copied: tuple[str, ...]) -> None:
        """Copy what a command changes besides its folder."""
        for name in copied:
            shutil.copytree(self.made / name, self.disk / name)

    @contextmanager
    def memory_disk(self, size: int, copied: tuple[str, ...]) -> Iterator[None]:
        """Mount a memory disk with this room beside what is copied over ``disk``."""
        self.clear()
        size += sum(size_of(self.made / name) for name in copied)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", self.disk], check=True)
        try:
            self.fill(copied)
            yield
        finally:
            subprocess.run(["umount", self.disk], check=True)


def files_of(folder: Path) -> list[Path]:
    """List all files under a folder that may change meanwhile."""
    return [Path(place) / name for place, _, names in os.walk(folder) for name in names]


def size_of(folder: Path) -> int:
    """Sum the sizes of all files in bytes, as a memory disk counts them: whole pages."""
    size = 0
    for path in files_of(folder):
        with suppress(FileNotFoundError):
            size += -(-path.stat().st_size // PAGE_BYTES) * PAGE_BYTES
    return size


def content(folder: Path) -> dict[str, str]:
    """Hash every file by its relative path; texts without their seconds and dates."""
    return {str(path.relative_to(folder)): _hash(path) for path in sorted(files_of(folder))}


def _hash(path: Path) -> str:
    if path.name in UNCOMPARED:
        return ""
    data = _trials(path) if path.name == "study.journal" else path.read_bytes()
    if path.suffix in (".json", ".html", ".md"):
        data = TIMED.sub("", data.decode()).encode()
    return hashlib.sha256(data).hexdigest()


def _trials(journal: Path) -> bytes:
    """Describe the finished trials of all studies: settings and scores."""
    storage = open_storage(str(journal))
    studies = [(study.study_name, study._study_id) for study in storage.get_all_studies()]
    trials = [(name, trial) for name, number in sorted(studies) for trial in storage.get_all_trials(number)]
    done = [(name, trial.params, trial.values) for name, trial in trials if trial.state == TrialState.COMPLETE]
    return repr(done).encode()


def differences(expected: dict[str, str], found: dict[str, str]) -> str:
    """Name the files that differ, or are there on one side alone."""
    names = [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def prepare(place: Place) -> None:
    """Make what the commands read: cohorts, finished runs, a table and an archive."""
    if (made := place.made).exists():
        return
    (made / "served").mkdir(parents=True)
    place.clear()
    place.finish("cohort phantom --patients 36 --image-size 32 --folds 2 --out {made}/cohort")
    place.finish(BASELINES)
    place.finish("freeze {made}/runs/fusion-late-mean --licence CC0 --out {made}/model")
    place.finish("cohort phantom --patients 36 --image-size 32 --folds 2 --seed 5 --out {made}/other")
    (made / "experiment.toml").write_text(EXPERIMENT)
    cohort = load_cohort(made / "cohort")
    grey = cohort.images[cohort.images["modality"] == "2d"].reset_index(drop=True)
    for name in ("a", "b"):
        save_cohort(replace(cohort, root=made / name, name=name, modalities=("2d",), images=grey))
    table = cohort.images.merge(cohort.patients)[["patient_id", "modality", "path", "label"]]
    paths = [cohort.pictures / path for path in table["path"]]
    table.assign(path=paths, label=table["label"].map(str)).to_csv(made / "table.csv", index=False)
    (made / "study.toml").write_text(STUDY)
    with zipfile.ZipFile(made / "served" / "ward.zip", "w") as file:
        for path in sorted(files_of(made / "cohort")):
            file.write(path, str(path.relative_to(made / "cohort")))


def write_manifest(place: Place, url: str) -> None:
    """Describe the archive at this address."""
    checksum = hashlib.sha256((place.made / "served" / "ward.zip").read_bytes()).hexdigest()
    write_text(
        place.root / "manifests" / "ward.toml",
        'title = "Ward"\nlicence = "CC0"\ncitation = "Ward 2020"\npage = "http://page"\n[[download.files]]\n'
        f'name = "ward.zip"\nurl = "{url}/ward.zip"\nchecksum = "sha256:{checksum}"\n',
    )


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; yields the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def try_command(name: str, place: Place) -> Row:
    """Run a command undisturbed, killed, and on a disk that is too small."""
    command, copied = COMMANDS[name], COPIED.get(name, ())
    place.clear()
    place.fill(copied)
    before, started = size_of(place.disk), time.monotonic()
    place.finish(command)
    seconds = time.monotonic() - started
    expected, size = content(place.disk), size_of(place.disk) - before
    files, written = len(files_of(place.disk / "out")), size_of(place.disk / "out")
    place.clear()
    place.fill(copied)
    killed = sum(place.kill_at(command, share * files, share * written) for share in SHARES)
    place.finish(command)
    after_kill = differences(expected, content(place.disk))
    with place.memory_disk(size // 2, copied):
        refused = place.finish(command, code=1)
        subprocess.run(["mount", "-o", f"remount,size={3 * (size + before) + 2**26}", place.disk], check=True)
        place.finish(command)
        after_full = differences(expected, content(place.disk))
    message = refused[refused.rindex("Error: ") :].strip() if "Error: " in refused else ""
    return Row(name, seconds, killed, after_kill, message.replace(str(place.root), "DIR"), after_full)


def write_page(rows: list[Row]) -> None:
    """Write the table as a page."""
    head = f"""# Commands that were killed, or met a full disk

{describe_origin("torch", "fusion_ln")} Its disks need root.

Real processes: killed (SIGKILL) when a quarter and three quarters of files and bytes were there, then started again;
then on a memory disk with room for half of what the command writes, then again with more room. Compared with those of
an undisturbed run are all files, of the cache too, but for seconds and dates.
{sum(row.sound for row in rows)} of {len(rows)} commands end with the same files.

| command | seconds | killed | files that differ | message on the full disk | files that differ |
| --- | --- | --- | --- | --- | --- |
"""
    lines = (
        f"| {row.name} | {row.seconds:.0f} | {row.killed} times | {row.after_kill or 'none'} | "
        f"{' '.join(row.message.split())} | {row.after_full or 'none'} |\n"
        for row in rows
    )
    write_text(PAGE, head + "".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(COMMANDS)}")
    parser.add_argument("--place", type=Path, help="folder to work in; what was tried there is kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Place((options.place or Path(folder)).resolve())
        kept = place.root / "rows.json"
        held = json.loads(kept.read_text()) if kept.is_file() else {}
        prepare(place)
        with serving(place.made / "served") as url:
            write_manifest(place, url)
            for name in options.names or COMMANDS:
                held[name] = asdict(try_command(name, place))
                print(*held[name].values(), sep=" | ", flush=True)
                write_text(kept, json.dumps(held))
        write_page([Row(**held[name]) for name in COMMANDS if name in held])


if __name__ == "__main__":
    main()
