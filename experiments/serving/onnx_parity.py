"""Measure how closely the ONNX graph follows the model: each backbone family under each head, 210 pictures each.

    python experiments/serving/onnx_parity.py [FAMILY ...]

Writes experiments/benchmarks/onnx_parity.md, and leaves rows that stand in it as they are: delete those to measure
again. Networks are the families' small members, with random weights, whose answers hardly differ from patient to
patient: their calibration spreads them to logits of standard deviation 1.5, and any difference with them.
"""

import dataclasses
import os
import platform
import sys
import time
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import pandas as pd
import torch
from random_model import random_model

from fusion_ln.cohort.phantom.examples import draw_examples
from fusion_ln.evaluation.probabilities.maps import PROB_FLOOR
from fusion_ln.export.onnx_file import write_onnx
from fusion_ln.frozen.answer import Answers, answer
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.heads import LATE_HEADS, TRAINED_HEADS
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.patients import gather_pictures
from fusion_ln.images.prepare import prepare_picture

FAMILIES = ("resnet18", "convnext_atto", "tf_efficientnet_b0", "vit_tiny_patch16_224")
SIDE, PATIENTS, AT_ONCE = 64, 70, 32
SPREAD = 1.5  # standard deviation of a logit over the patients
SIZES = {"squares": [(64, 64)] * 3, "other sizes": [(75, 91), (130, 57), (41, 50)]}
OUT = Path(__file__).parents[1] / "benchmarks" / "onnx_parity.md"

Pictures = list[np.ndarray]  # of each modality, uint8 (P, H, W, 3)


def main(families: list[str]) -> None:
    lines = [line for line in OUT.read_text().splitlines() if line.startswith("| ")][2:] if OUT.is_file() else []
    pictures = {kind: draw(sizes) for kind, sizes in SIZES.items()}
    for family in families:
        for head in (*LATE_HEADS, *TRAINED_HEADS):
            if any(line.startswith(f"| {family} | {head} |") for line in lines):
                continue
            model, factor = spread(random_model(head, family, side=SIDE), pictures["squares"])
            start = time.process_time()
            with TemporaryDirectory() as folder:
                path = Path(folder) / "model.onnx"
                write_onnx(model, path)
                seconds = time.process_time() - start
                session = onnxruntime.InferenceSession(path)
            cells = [measure(model, session, each) for each in pictures.values()]
            lines.append(f"| {family} | {head} | {factor:.0f} | {' | '.join(cells)} | {seconds:.1f} |")
            print(lines[-1], flush=True)
            write(lines)


def write(lines: list[str]) -> None:
    OUT.write_text(
        "# Largest difference between the ONNX graph and the model\n\n"
        f"Written {date.today()} by `python experiments/serving/onnx_parity.py` on {os.cpu_count()} cores, 1 thread, "
        f"Python {platform.python_version()}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}.\n\n"
        f"{PATIENTS} simulated patients ({3 * PATIENTS} pictures), every subset of three modalities, {SIDE} px, random "
        "weights,\nanswers spread by the calibration's factor to logits of standard deviation "
        f"{SPREAD}, over which any difference\ngrows, too: largest difference of a calibrated probability, share of "
        "patients whose set is the same. Asked: 1e-4\nfrom squares, 1e-3 from other sizes.\n\n"
        "| backbone | head | factor | squares | other sizes | s to export |\n| --- | --- | --- | --- | --- | --- |\n"
        + "\n".join(lines)
        + "\n"
    )


def draw(sizes: list[tuple[int, int]]) -> Pictures:
    """Draw pictures of simulated patients, of a size by modality."""
    patients = draw_examples(per_class=-(-PATIENTS // 3), side=192)[:PATIENTS]
    of_modality = zip(patients[0].pictures, sizes, strict=True)
    return [
        np.stack([np.asarray(p.pictures[m].convert("RGB").resize((width, height))) for p in patients])
        for m, (height, width) in of_modality
    ]


def subsets() -> np.ndarray:
    """Give the presence mask (P, 3): every subset in turn."""
    numbers = np.arange(PATIENTS) % 7 + 1
    return np.array([[number >> m & 1 for m in range(3)] for number in numbers], dtype=bool)


def spread(model: FrozenModel, pictures: Pictures) -> tuple[FrozenModel, float]:
    """Give a model a calibration that spreads its answers to these pictures; returns its factor, too."""
    logs = np.log(np.maximum(ask(model, pictures, subsets()).raw, PROB_FLOOR))
    ratios = logs - logs.mean(axis=1, keepdims=True)
    factor = float(SPREAD / ratios.std(axis=0).mean())
    offsets = tuple((-factor * ratios.mean(axis=0)).tolist())
    pooled = model.record.pooled.model_copy(update={"slope": factor, "offsets": offsets})
    record = model.record.model_copy(update={"calibration": {}, "pooled": pooled})
    return dataclasses.replace(model, record=record), factor


def measure(model: FrozenModel, session: onnxruntime.InferenceSession, pictures: Pictures) -> str:
    present = subsets()
    expected, probs, p_values = ask(model, pictures, present), [], []
    for start in range(0, PATIENTS, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        inputs = {m: each[part] for m, each in zip(model.modalities, pictures, strict=True)}
        found = session.run(["probabilities", "p_values"], {**inputs, "present": present[part]})
        probs.append(found[0])
        p_values.append(found[1])
    away = np.abs(np.concatenate(probs) - expected.probs).max()
    same = ((np.concatenate(p_values) > 0.1) == expected.member).all(axis=1).mean()
    return f"{away:.1e}, {100 * same:.0f} %"


def ask(model: FrozenModel, pictures: Pictures, present: np.ndarray) -> Answers:
    names, banks = np.array([f"{i:03d}" for i in range(PATIENTS)]), {}
    for m, modality in enumerate(model.modalities):
        here = np.flatnonzero(present[:, m])
        pixels = np.stack([prepare_picture(pictures[m][i], SIDE) for i in here])
        banks[modality] = ImageBank(pixels, names[here], np.zeros(len(here), dtype=np.int64))
    return answer(model, gather_pictures(banks), pd.DataFrame({"patient_id": names}))


if __name__ == "__main__":
    main(sys.argv[1:] or list(FAMILIES))
