"""How many users does a server bear: three ResNet-18 at 96 px in five folds, many users at once, for some minutes.

Command: python experiments/serving/load.py [--users 50] [--seconds 300] [--model DIR] [--litserve] [--explain 0.1]
Expect: benchmarks/load.md: requests a second, medians and 95th percentiles, refusals (503), memory; first one user by
itself (a triplet under 300 ms, with Grad-CAM under 1 s). Without --model one is trained for an epoch (two minutes).
With --litserve, the same model under LitServe beside it (install it by hand: pip install litserve).
"""

import argparse
import io
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import requests
from PIL import Image
from server_process import memory_of, start_server

from fusion_ln.bench.page import describe_origin, table_head, table_row
from fusion_ln.cohort.default import open_phantom
from fusion_ln.cohort.phantom.examples import draw_examples
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.files.formats import write_text
from fusion_ln.frozen.freeze import freeze
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import FitSettings
from fusion_ln.training.run import run_baselines_and_fusions

PAGE = Path(__file__).parents[1] / "benchmarks" / "load.md"
ALONE = 20  # requests of one user by itself


@dataclass
class Measured:
    """Answers of one way to serve: seconds of those that came, refusals, others; memory in MB from time to time."""

    title: str
    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    failed: int = 0
    took: float = 0.0
    memory: list[float] = field(default_factory=list)

    def row(self) -> str:
        """Write it as a row of the table."""
        p50, p95 = np.quantile(self.seconds, [0.5, 0.95]) if self.seconds else (np.nan, np.nan)
        rate = len(self.seconds) / self.took if self.took else np.nan
        grown = f"{self.memory[0]:.0f} → {max(self.memory):.0f}" if self.memory else "–"
        cells = [self.title, str(len(self.seconds)), f"{rate:.1f}", f"{1000 * p50:.0f}", f"{1000 * p95:.0f}"]
        return table_row([*cells, str(self.refused), str(self.failed), grown])


def make_model(folder: Path) -> Path:
    """Train three ResNet-18 for an epoch in five folds, fuse them, and freeze the mean."""
    cohort = open_phantom(PhantomSettings(patients=60))
    fit = FitSettings(backbone="resnet18", image_size=96, epochs=1)
    runs = run_baselines_and_fusions(
        cohort, list(cohort.modalities), {"late-mean": None}, fit, folder / "runs", protocol="nested", seed=0,
        device=DeviceSettings(device="cpu"),
    )  # fmt: skip
    freeze(runs[-1], folder / "model", licence="CC0-1.0")
    return folder / "model"


def triplets() -> list[dict[str, bytes]]:
    """Draw the simulated patients that the users send."""
    drawn = []
    for example in draw_examples(per_class=4, side=192):
        files = {}
        for modality, image in example.pictures.items():
            image.save(buffer := io.BytesIO(), "PNG")
            files[modality] = buffer.getvalue()
        drawn.append(files)
    return drawn


def ask(session: requests.Session, url: str, files: dict[str, bytes], into: Measured) -> None:
    """Send a triplet and note the answer."""
    began = time.perf_counter()
    try:
        status = session.post(url, files=files, timeout=120).status_code
    except requests.RequestException:
        status = 0
    if status == requests.codes.ok:
        into.seconds.append(time.perf_counter() - began)
    elif status == requests.codes.service_unavailable:
        into.refused += 1
        time.sleep(0.2)
    else:
        into.failed += 1


def alone(title: str, url: str) -> Measured:
    """Ask again and again as the only user."""
    found, files, began = Measured(title), triplets(), time.monotonic()
    with requests.Session() as session:
        ask(session, url, files[0], Measured(""))  # the first opens the connection
        for number in range(ALONE):
            ask(session, url, files[number % len(files)], found)
    found.took = time.monotonic() - began
    print(found.row(), flush=True)
    return found


def crowd(title: str, urls: Callable[[int], str], users: int, seconds: float, pid: int) -> Measured:
    """Let many users ask, each again as soon as it is answered."""
    found, files = Measured(title), triplets()
    end = time.monotonic() + seconds
    done = threading.Event()

    def use(user: int) -> None:
        rng = np.random.default_rng(user)
        with requests.Session() as session:
            while time.monotonic() < end:
                ask(session, urls(int(rng.integers(1000))), files[rng.integers(len(files))], found)

    def watch() -> None:
        while not done.wait(max(seconds / 20, 1)):
            found.memory.append(memory_of(pid) / 1e6)

    found.memory.append(memory_of(pid) / 1e6)
    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    with ThreadPoolExecutor(users) as pool:
        list(pool.map(use, range(users)))
    found.took = time.monotonic() - began
    done.set()
    watcher.join()
    print(found.row(), flush=True)
    return found


def measure_litserve(model: Path, users: int, seconds: float) -> list[Measured]:
    """Measure the same model under LitServe."""
    from litserve_server import run_litserve

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=run_litserve, args=(model, port))
    process.start()
    url = f"http://127.0.0.1:{port}/predict"
    try:
        while True:
            with suppress(requests.ConnectionError):
                if requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok:
                    break
            if not process.is_alive():
                sys.exit("LitServe did not start.")
            time.sleep(0.5)
        return [
            alone("LitServe, one user", url),
            crowd(f"LitServe, {users} users", lambda _: url, users, seconds, process.pid or 0),
        ]
    finally:
        os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--explain", type=float, default=0.0, help="share of requests that ask for Grad-CAM")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--litserve", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        model = arguments.model or make_model(Path(name))
        with start_server(model, Path(name) / "log", per_minute=1_000_000) as server:
            predict, explain = (f"{server.address}/api/v1/{each}" for each in ("predict", "explain?method=gradcam"))
            share = 1000 * arguments.explain
            measured = [
                alone("a triplet, one user", predict),
                alone("with Grad-CAM, one user", explain),
                crowd(
                    f"{arguments.users} users",
                    lambda drawn: explain if drawn < share else predict,
                    arguments.users,
                    arguments.seconds,
                    server.process.pid,
                ),
            ]
        if arguments.litserve:
            measured += measure_litserve(model, arguments.users, arguments.seconds)
        side = Image.open(io.BytesIO(triplets()[0]["2d"])).width
    lines = [
        "# Load",
        "",
        describe_origin("fusion_ln", "torch", "django", "uvicorn"),
        "",
        f"Pictures of {side} x {side} pixels as PNG over loopback, clients on the same machine. Memory: the server and "
        "its decoders [MB], at the beginning and at most. Times in milliseconds, of answered requests.",
        "Networks answer in onnxruntime where it is installed (`--engine auto`); those under LitServe in torch.",
        "",
        *table_head(["", "answered", "a second", "p50", "p95", "503", "failed", "memory"]),
        *(each.row() for each in measured),
        "",
    ]
    write_text(PAGE, "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
