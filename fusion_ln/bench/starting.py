"""Speed of a start: a process of a command beside the process of what it cannot do without."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from fusion_ln.bench.record import Figure, measure

STARTS = (
    (
        "help of `run baseline`",
        "from fusion_ln.cli.main import cli; cli(['run', 'baseline', '--help'])",
        "import click",
    ),
    ("imports of `predict`", "import fusion_ln.predict.predictor", "import torch, timm"),
    ("imports of `run fusion`", "import fusion_ln.training.run", "import torch, timm"),
    ("imports of `compare`", "import fusion_ln.evaluation.compare", "import numpy, pandas, scipy.stats"),
)


def start_figures(*, rounds: int) -> Iterator[Figure]:
    """Time new processes of Python from their start to their end."""
    for task, code, floor in STARTS:
        yield measure("start", task, partial(_run, code), f"`{floor}`", partial(_run, floor), rounds=rounds)


def _run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
