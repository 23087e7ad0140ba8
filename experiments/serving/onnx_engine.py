"""Measure what onnxruntime gains over torch, for networks of the paper's families: one patient and sixteen.

    python experiments/serving/onnx_engine.py [BACKBONE ...]

Writes experiments/benchmarks/onnx_engine.md, and leaves rows that stand in it as they are. A refit of three modalities
under late fusion, random weights, one thread. Both answer from every subset of a patient's pictures (contributions):
networks and fusions compute in onnxruntime. `FASTER` in fusion_ln/export/engine/choice.py is the rule that follows.
"""

import dataclasses
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import torch
from random_model import random_model

from fusion_ln.export.engine.choice import with_graphs
from fusion_ln.frozen.answer import answer
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.patients import gather_pictures

BACKBONES = ("resnet18", "convnext_atto", "tf_efficientnet_b0", "vit_tiny_patch16_224", "resnet50", "convnext_tiny")
SIDES, PATIENTS = (96, 224), (1, 16)
OUT = Path(__file__).parents[1] / "benchmarks" / "onnx_engine.md"


def main(backbones: list[str]) -> None:
    rows = [line for line in OUT.read_text().splitlines() if line.startswith("| ")][2:] if OUT.is_file() else []
    for backbone in backbones:
        for side in SIDES:
            if any(row.startswith(f"| {backbone} | {side} |") for row in rows):
                continue
            rows += measure(backbone, side)
            write(rows)


def measure(backbone: str, side: int) -> list[str]:
    """Measure a backbone at a size; returns its rows."""
    model = random_model("late-mean", backbone, side=side)
    model = dataclasses.replace(model, digest=None)  # traced here, not read from the cache
    start = time.process_time()
    other = with_graphs(model)
    opened = time.process_time() - start
    rows = []
    for patients in PATIENTS:
        squares = np.random.default_rng(0).integers(0, 256, (patients, 3, side, side), dtype=np.uint8)
        names = np.array([f"{i:02d}" for i in range(patients)])
        pictures = gather_pictures({m: ImageBank(squares, names, np.zeros(patients)) for m in model.modalities})
        table = pd.DataFrame({"patient_id": names})
        repeats = 5 if patients == 1 else 2
        ours = median(lambda: answer(model, pictures, table), repeats)  # noqa: B023
        theirs = median(lambda: answer(other, pictures, table), repeats)  # noqa: B023
        cells = f"{ours:.0f} | {theirs:.0f} | {ours / theirs:.2f} | {opened:.1f}"
        rows.append(f"| {backbone} | {side} | {patients} | {cells} |")
        print(rows[-1], flush=True)
    return rows


def median(call: Callable[[], object], repeats: int) -> float:
    """Return the median milliseconds of the processor."""
    call()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return float(1000 * np.median(found))


def write(rows: list[str]) -> None:
    OUT.write_text(
        "# Answers by torch and by onnxruntime\n\n"
        f"Written {date.today()} by `python experiments/serving/onnx_engine.py` on {os.cpu_count()} cores, 1 thread, "
        f"Python {platform.python_version()}, torch {torch.__version__},\nonnxruntime "
        f"{onnxruntime.__version__}. Milliseconds "
        "of processor for all pictures of so many patients, three each, by a refit: median.\n\n"
        "| backbone | pixels | patients | torch | onnxruntime | factor | s to trace and open |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:] or list(BACKBONES))
