"""A server of `fusionln serve` in a process of its own, for measurements."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ServerProcess:
    """A server that runs, and where it is asked."""

    process: subprocess.Popen[bytes]
    address: str


@contextmanager
def start_server(model: Path, log: Path, **options: object) -> Iterator[ServerProcess]:
    """Serve a model on a free port while the context is open.

    Raises:
        RuntimeError: If the server ends before it answers; with its log.
    """
    variables = {f"FUSIONLN_SERVE_{name.upper()}": str(value) for name, value in options.items()}
    command = [sys.executable, "-c", "from fusion_ln.cli.main import cli; cli()", "serve", str(model), "--port", "0"]
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, env=os.environ | variables)
    try:
        while not (found := re.search(r"http://[^/]+", log.read_text())):
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                raise RuntimeError(log.read_text())
        yield ServerProcess(process, found[0])
    finally:
        process.terminate()
        process.wait(60)


def memory_of(pid: int) -> float:
    """Sum the proportional memory of a process and its descendants, in bytes."""
    total = 0
    for process in [pid, *_descendants(pid)]:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # a decoder that was replaced meanwhile
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [*children, *(each for child in children for each in _descendants(child))]
