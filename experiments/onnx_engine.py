"""Measure what onnxruntime gains over torch: one patient and sixteen, by a refit.

    python experiments/onnx_engine.py

Writes experiments/benchmarks/onnx_engine.md. ResNet-18, three modalities, late fusion, random weights, one thread. The
model answers from every subset of a patient's pictures (contributions), the graph from one.
"""

import os
import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import pandas as pd
import torch
from random_model import random_model

from fusion_ln.export.onnx_file import write_onnx
from fusion_ln.frozen.answer import answer
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.patients import gather_pictures

REPEATS = 3
OUT = Path(__file__).parent / "benchmarks" / "onnx_engine.md"


def main() -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    rows = []
    for side, n_models, batches in ((96, 1, (1, 16)), (224, 1, (1,))):
        model = random_model("late-mean", "resnet18", side=side, n_models=n_models)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            start = time.process_time()
            write_onnx(model, path)
            export = time.process_time() - start
            start = time.process_time()
            session = onnxruntime.InferenceSession(path, options)
            load = time.process_time() - start
        for patients in batches:
            squares = np.random.default_rng(0).integers(0, 256, (patients, 3, side, side), dtype=np.uint8)
            names = np.array([f"{i:02d}" for i in range(patients)])
            pictures = gather_pictures({m: ImageBank(squares, names, np.zeros(patients)) for m in model.modalities})
            table = pd.DataFrame({"patient_id": names})
            inputs = {m: squares.transpose(0, 2, 3, 1).copy() for m in model.modalities}
            inputs["present"] = np.ones((patients, 3), dtype=bool)
            ours = measure(lambda: answer(model, pictures, table))  # noqa: B023
            theirs = measure(lambda: session.run(None, inputs))  # noqa: B023
            rows.append(
                f"| {side} | {n_models} | {patients} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.1f} | "
                f"{export:.1f} | {load:.1f} |"
            )
            print(rows[-1], flush=True)
    OUT.write_text(
        "# Answers by torch and by onnxruntime\n\n"
        f"Written {date.today()} by `python experiments/onnx_engine.py` on {os.cpu_count()} cores, 1 thread, Python "
        f"{platform.python_version()}, torch {torch.__version__},\nonnxruntime {onnxruntime.__version__}. Milliseconds "
        f"of processor, median of {REPEATS}: `answer` of the model, and a run of its graph.\n\n"
        "| pixels | models | patients | torch | onnxruntime | factor | s to export | s to load |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
    )


def measure(call: Callable[[], object]) -> float:
    """Return the median milliseconds of the processor."""
    call()
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return float(1000 * np.median(found))


if __name__ == "__main__":
    main()
