"""Speed of a start: a process of a command beside the process of what it cannot do without."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from fusion_ln.bench.record import Figure, measure

WITH_TORCH, WITHOUT_TORCH = "import torch, timm", "import numpy, pandas, onnxruntime"
STARTS = (
    (
        "help of `run baseline`",
        "from fusion_ln.cli.main import cli; cli(['run', 'baseline', '--help'])",
        "import click",
    ),
    ("imports of `predict`", "import fusion_ln.predict.predictor", WITHOUT_TORCH),
    ("imports of `run fusion`", "import fusion_ln.training.run", WITH_TORCH),
    ("imports of `compare`", "import fusion_ln.evaluation.compare", "import numpy, pandas, scipy.stats"),
)


def start_figures(*, rounds: int) -> Iterator[Figure]:
    """Time new processes of Python from their start to their end."""
    for task, code, floor in STARTS:
        yield measure("start", task, partial(run_python, code), f"`{floor}`", partial(run_python, floor), rounds=rounds)


def run_python(code: str, *arguments: str) -> None:
    """Run code in a new process, and leave its words unsaid."""
    command = [sys.executable, "-c", code, *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
