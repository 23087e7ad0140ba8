"""Does a page in the browser answer as `predict` does, how fast, and how much does a visitor fetch?

Question  For simulated patients whom the model has not seen: the largest difference of any probability from `predict`
          at the page's precision, from PNG and from JPEG; the time of a triplet and of its maps; the bytes of a folder.
Command   python experiments/serving/page_parity.py MODEL [MODEL...] --out experiments/benchmarks/page_parity.md
Time      about 2 minutes a model on two cores
Expect    1e-3 from PNG, 1e-2 from JPEG, a triplet under 2 s, under 45 MB compressed

MODEL is a folder of `fusionln freeze`; of an ensemble the first model stands for a refit, which is as large. A model
beyond the limit of `--page` is measured all the same, and named as refused. Answers of a network that learnt little
hardly differ: `--spread` centres and scales its last layer, and leaves calibration out, until they do.
"""

import argparse
import dataclasses
import gzip
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from playwright.sync_api import Page, sync_playwright
from torch import nn

from fusion_ln.bench.page import describe_origin, table_head, table_row
from fusion_ln.cohort.phantom.examples import Example, draw_examples
from fusion_ln.decode.picture import read_picture
from fusion_ln.evaluation.probabilities.cv_plus import FoldScores
from fusion_ln.export.page import folder
from fusion_ln.files.formats import write_text
from fusion_ln.frozen.answer import Answers, answer
from fusion_ln.frozen.load import FrozenModel, load_model
from fusion_ln.frozen.unlike import Known
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.patients import gather_pictures
from fusion_ln.images.prepare import prepare_picture
from fusion_ln.models.classifier import Classifier
from fusion_ln.models.triplet import module_key

KINDS = {"png": {}, "jpeg": {"quality": 90}}
SPREAD = 1.5  # standard deviation of a logit over the patients
TIMED = 5  # triplets, one after the other


def take_first(model: FrozenModel, patients: list[Example], *, spread: bool) -> FrozenModel:
    """Let the first model of an ensemble stand for a refit, with the weights of a page."""
    with torch.no_grad():
        for modality, side in model.record.modalities.items() if spread else ():
            member = model.models[0].members[module_key(modality)]
            assert isinstance(member, Classifier)
            pictures = [np.asarray(patient.pictures[modality].convert("RGB")) for patient in patients]
            logits = member(torch.from_numpy(np.stack([prepare_picture(each, side) for each in pictures])) / 255)
            *_, last = member.head.children()
            assert isinstance(last, nn.Linear)
            factor = float(SPREAD / logits.std(0).mean())
            last.weight.mul_(factor)
            last.bias.copy_(factor * (last.bias - logits.mean(0)))
        for weights in model.models[0].parameters():
            if weights.ndim > 1:
                weights.copy_(weights.half().float())
    scores = {name: FoldScores(np.zeros_like(s.folds), s.labels, s.scores) for name, s in model.scores.items()}
    record = model.record.model_copy(update={"answer": "refit"})
    if spread:
        as_it_is = record.pooled.model_copy(update={"slope": 1.0, "offsets": (0.0,) * len(record.classes)})
        record = record.model_copy(update={"calibration": {}, "pooled": as_it_is})
    known = Known(model.known.moments[:1], model.known.threshold) if model.known else None
    return dataclasses.replace(model, record=record, models=model.models[:1], scores=scores, known=known)


def write_pictures(patients: list[Example], modalities: list[str], kind: str, root: Path) -> list[Path]:
    """Write the pictures of patients as a batch reads them."""
    paths = []
    for number, patient in enumerate(patients):
        for modality in modalities:
            paths.append(root / f"P{number:03d}_{modality}.{kind}")
            patient.pictures[modality].convert("RGB").save(paths[-1], kind.upper(), **KINDS[kind])
    return paths


def predict(model: FrozenModel, paths: list[Path]) -> Answers:
    """Let the model itself answer from the files."""
    banks = {}
    for modality, side in model.record.modalities.items():
        own = [path for path in paths if path.stem.endswith(f"_{modality}")]
        pixels = np.stack([prepare_picture(read_picture(path), side) for path in own])
        names = np.array([path.stem.split("_")[0] for path in own])
        banks[modality] = ImageBank(pixels, names, np.zeros(len(own), dtype=np.int64))
    pictures = gather_pictures(banks)
    return answer(model, pictures, pd.DataFrame({"patient_id": pictures.patients}))


def ask(page: Page, paths: list[Path]) -> list[dict[str, Any]]:
    """Have the page answer a batch."""
    page.get_by_role("link", name="Batch", exact=True).click()
    page.locator(".drop-buttons input").last.set_input_files([str(path) for path in paths])
    page.get_by_role("button", name="Ask about all").click()
    n = len({path.stem.split("_")[0] for path in paths})
    page.get_by_text(f"{n} of {n} patients").wait_for()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save JSON").click()
    answers: list[dict[str, Any]] = json.loads(Path(saved.value.path()).read_text())
    return sorted(answers, key=lambda each: str(each["patient_id"]))


def time_triplets(page: Page, paths: list[Path]) -> tuple[list[float], float]:
    """Measure seconds from the click to the answer, and of the last one to its maps."""
    page.get_by_role("link", name="Patient", exact=True).click()
    page.locator(".drop-head input").set_input_files([str(path) for path in paths])
    for path in paths:
        page.get_by_label(f"Modality of {path.name}").select_option(path.stem.split("_")[1])
    seconds = []
    for _ in range(TIMED):
        start = time.perf_counter()
        page.get_by_role("button", name="Get the answer").click()
        page.locator(".verdict-text").wait_for()
        seconds.append(time.perf_counter() - start)
        page.locator(".figure .map").last.wait_for()
    return seconds, time.perf_counter() - start


def measure(root: Path, n_patients: int, *, spread: bool) -> str:
    """Measure a model; returns its row."""
    patients = draw_examples(per_class=-(-n_patients // 3), side=192)[:n_patients]
    model = take_first(load_model(root), patients, spread=spread)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as started:
        out = Path(place) / "page"
        folder.MOST_BYTES, limit = 10**9, folder.MOST_BYTES
        size = folder.write_page(model, out)
        folder.MOST_BYTES = limit
        files = [path for path in out.rglob("*") if path.is_file()]
        packed = sum(len(gzip.compress(path.read_bytes(), 9)) for path in files)
        weights = sum(path.stat().st_size for path in out.rglob("*.onnx"))
        command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(out)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            [port] = re.findall(r"port (\d+)", process.stdout.readline())
            browser = started.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            context = browser.new_context(locale="en-GB")
            page = context.new_page()
            page.set_default_timeout(600_000)
            page.goto(f"http://127.0.0.1:{port}/")
            page.locator(".fetched[data-kept]").wait_for()
            context.set_offline(True)
            differences, sets = {}, 0
            for kind in KINDS:
                paths = write_pictures(patients, model.modalities, kind, Path(place))
                expected, found = predict(model, paths), ask(page, paths)
                probs = np.array([list(each["probabilities"].values()) for each in found])
                differences[kind] = np.abs(probs - expected.probs).max()
                classes = np.array(model.record.classes)
                if kind == "png":
                    sets = sum(e["set"] == classes[m].tolist() for e, m in zip(found, expected.member, strict=True))
                    extent = np.ptp(expected.probs, axis=0).max()
            seconds, until_maps = time_triplets(page, paths[: len(model.modalities)])
            method = page.locator(".maps-controls span").first.inner_text()
            browser.close()
        finally:
            process.kill()
    networks = sum(weights.numel() for weights in model.models[0].parameters()) / 1e6
    refused = " (refused by `--page`)" if weights > limit else ""
    cells = [
        f"{len(model.modalities)} networks, {networks:.1f} million weights, {max(model.record.modalities.values())} px",
        f"{weights / 1e6:.1f}{refused}",
        f"{size / 1e6:.1f}",
        f"{packed / 1e6:.1f}",
        f"{differences['png']:.1e}",
        f"{differences['jpeg']:.1e}",
        f"{sets} of {len(patients)}",
        f"{extent:.2f}",
        f"{np.median(seconds):.2f}",
        f"{until_maps:.1f} ({method})",
    ]
    return table_row(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("--patients", type=int, default=36)
    parser.add_argument("--spread", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = [measure(root, options.patients, spread=options.spread) for root in options.models]
    head = [
        "model", "weights, MB", "folder, MB", "gzip, MB", "largest difference, PNG", "JPEG", "equal sets",
        "range of a probability", "triplet, s", "with maps, s",
    ]  # fmt: skip
    text = [
        "# A page in the browser beside `predict`",
        "",
        f"{describe_origin('torch', 'onnx')} Chromium, one thread, network cut after loading; {options.patients}",
        "simulated patients with a picture of each modality as PNG, then as JPEG (quality 90). `predict` has the",
        "weights that the page has. Times are medians, from the click to the answer.",
        "",
        *table_head(head),
        *rows,
    ]
    write_text(options.out, "\n".join(text) + "\n")


if __name__ == "__main__":
    main()
