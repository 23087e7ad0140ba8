"""Are a frozen model's figures valid for what answers? A frozen phantom study on fresh patients.

Question  Do calibrated probabilities, sets and AUC of an ensemble and of a refit hold on patients whom the study never
          met?
Command   python experiments/evidence/frozen_validity.py --device cuda --workers 16
Time      about 6 minutes on one GPU and 16 cores
Expect    coverage at 90 % of benign 0.85 to 0.95, lymphoma 0.84 to 0.95, metastatic 0.86 to 0.94; each slope's interval
          holds 1; AUC not below the out-of-fold one by more than its interval

The slope's interval counts the fresh patients and the calibration's own error, by resampling the study's patients. The
average over many studies is shown by `frozen_scores.py`.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from frozen_scores import slope_of
from threadpoolctl import threadpool_limits

from fusion_ln.bench.page import describe_origin
from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.phantom.organs import simulate_organs
from fusion_ln.cohort.phantom.simulate import simulate_cohort
from fusion_ln.decode.picture import read_picture
from fusion_ln.errors import RunError
from fusion_ln.evaluation.limits.auc import aucs
from fusion_ln.evaluation.limits.shares import share_interval
from fusion_ln.evaluation.probabilities.ensemble import calibrate_mean
from fusion_ln.evaluation.probabilities.recalibration import recalibration
from fusion_ln.files.formats import write_text
from fusion_ln.predictions import (
    Predictions,
    predictions_from_logits,
    read_inner_predictions,
    read_predictions,
)
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.pretraining import PretrainSettings
from fusion_ln.settings.training import FitSettings
from fusion_ln.terms import PATIENT

FOLDS = 5
HEADINGS = (
    "model, answer, class, patients, coverage, slope, AUC out of fold, AUC fresh, its change, log loss before, after"
)
HEADS = {"late-mean": None, "concat": HeadSettings(head="concat"), "cross-attention": HeadSettings()}
PART = 125  # fresh patients that one process simulates
RESAMPLES = 40  # of the study's patients, for the calibration's own error
TABLE = Path(__file__).parents[1] / "benchmarks" / "frozen_validity.csv"


def simulate_part(folder: Path, seed: int, n: int) -> Path:
    """Simulate some patients as a cohort of their own."""
    with threadpool_limits(1):
        simulate_cohort(folder, n_patients=n, seed=seed)
    return folder


def pretrain_on_organs(folder: Path, fit: FitSettings, patients: int, device: DeviceSettings) -> Path:
    """Pre-train a backbone on the simulated organs."""
    from fusion_ln.training.pretraining.pretrain import pretrain

    cohorts = simulate_organs(folder / "organs", n_patients=patients, image_size=fit.image_size)
    run = RunFolder(folder / "pretraining")
    pretrain(cohorts, PretrainSettings(fit=fit), run, device)
    return run.root


def train_baseline(cohort: Path, out: Path, fit: FitSettings, device: DeviceSettings, modality: str) -> RunFolder:
    """Train the baseline of a modality."""
    from fusion_ln.training.run import run_baselines

    return run_baselines(load_cohort(cohort), [modality], fit, out, device=device)[0]


def predict_part(model: Path, cohort: Path) -> pd.DataFrame:
    """Answers to the patients of a part: label, raw and calibrated probabilities, members of the sets.

    A part that holds a picture nearly the same as one of the study is left out, as `predict` refuses it.
    """
    import torch

    from fusion_ln.predict.predictor import load_predictor

    torch.set_num_threads(1)
    mine = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {mine[os.getpid() % len(mine)]})  # one core a process
    opened = load_cohort(cohort)
    try:
        answers = load_predictor(model).predict_cohort(opened)
    except RunError as error:
        print(f"Left out: {error}", flush=True)
        return pd.DataFrame()
    labels = opened.patients.set_index(PATIENT)["label"].loc[answers.patients].to_numpy()
    table = pd.DataFrame({"label": labels, "unlike": answers.unlike})
    for name in ("probs", "raw", "member"):
        table[[f"{name}_{c}" for c in range(3)]] = getattr(answers, name)
    return table


def flagged(model: Path, busi: Path) -> dict[str, float]:
    """Share of noise, and of real pictures of the breast in place of a node, that the model calls unlike its own."""
    from fusion_ln.frozen.answer import answer
    from fusion_ln.frozen.load import load_model
    from fusion_ln.images.bank import ImageBank
    from fusion_ln.images.patients import gather_pictures
    from fusion_ln.images.prepare import prepare_picture

    loaded, rng = load_model(model), np.random.default_rng(0)
    files = sorted(path for path in busi.rglob("*.png") if "_mask" not in path.name)
    sources = {"noise": rng.integers(0, 256, (100, 3, 96, 96), dtype=np.uint8)}
    if files:
        sources["busi"] = np.stack([prepare_picture(read_picture(file), 96) for file in files])
    shares = dict.fromkeys(("noise", "busi"), float("nan"))
    for name, pixels in sources.items():
        names, none = np.array([f"{i:05}" for i in range(len(pixels))]), np.zeros(len(pixels), int)
        banks = {m: ImageBank(pixels[:0], names[:0], none[:0]) for m in loaded.modalities}
        banks["2d"] = ImageBank(pixels, names, none)
        shares[name] = answer(loaded, gather_pictures(banks), pd.DataFrame({PATIENT: names})).unlike.mean()
    return shares


def speeds(folder: Path) -> str:
    """Seconds of freezing, loading and answering by the first ensemble, on two cores."""
    import torch

    from fusion_ln.frozen.freeze import freeze
    from fusion_ln.predict.predictor import load_predictor

    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))
    torch.set_num_threads(2)
    model = folder / "models" / "again"
    name = f"fusion-{next(iter(HEADS))}"
    freezing = _seconds(lambda: freeze(RunFolder(folder / "runs" / name), model, licence="none"))
    loading = min(_seconds(lambda: load_predictor(model)) for _ in range(2))
    predictor, cohorts = load_predictor(model), [load_cohort(root) for root in sorted(folder.glob("fresh-*"))[:8]]
    images = cohorts[0].images[cohorts[0].images[PATIENT] == cohorts[0].images[PATIENT].iloc[0]]
    triplet = {row.modality: cohorts[0].picture_path(row.path) for row in images.itertuples()}
    one = np.median([_seconds(lambda: predictor.predict_pictures(triplet)) for _ in range(6)][1:])
    many = sum(_seconds(partial(predictor.predict_cohort, each)) for each in cohorts)
    n = sum(len(each.patients) for each in cohorts)
    return (
        f"\nOn two cores, {name} as an ensemble of {FOLDS}: frozen in {freezing:.1f} s, loaded in {loading:.2f} s, one "
        f"triplet in {one * 1000:.0f} ms, {n:,} patients in {many:.1f} s (pictures prepared before).\n"
    )


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def assess(
    model: str, answer: str, run: RunFolder, fresh: pd.DataFrame, strange: dict[str, float]
) -> list[dict[str, object]]:
    """Figures of one frozen model on the fresh patients, a row per class."""
    held_out, labels = read_predictions(run.predictions), fresh["label"].to_numpy()
    inner = read_inner_predictions(run.inner_predictions)
    if answer == "refit":
        inner = Predictions(inner.classes, inner.table.iloc[:0])
    probs, raw, member = (fresh[[f"{name}_{c}" for c in range(3)]].to_numpy() for name in ("probs", "raw", "member"))
    names = [f"{i:05}" for i in range(len(labels))]
    calibrated = predictions_from_logits(held_out.classes, names, np.zeros(len(labels), int), labels, np.log(probs))
    slopes = recalibration(calibrated).set_index("class").astype(float)
    errors = _calibration_errors(held_out, inner, FOLDS if answer == "ensemble" else 1, raw, labels)
    inside, outside = aucs(held_out.labels, held_out.probs), aucs(labels, probs)
    spread = np.sqrt(inside.macro_covariance(inside) + outside.macro_covariance(outside))
    own = np.arange(len(labels))
    rows: list[dict[str, object]] = []
    for c, name in enumerate(held_out.classes):
        hits, n = int(member[labels == c, c].sum()), int((labels == c).sum())
        low, high = share_interval(hits, n)
        value = float(slopes["slope"][name])
        half = 1.96 * np.hypot((slopes["slope_high"][name] - slopes["slope_low"][name]) / 3.92, errors[c])
        rows.append(
            {
                "model": model, "answer": answer, "class": name, "patients": n, "coverage": hits / n,
                "coverage_low": low, "coverage_high": high, "slope": value, "slope_low": value - half,
                "slope_high": value + half, "auc": float(outside.macro), "auc_out_of_fold": float(inside.macro),
                "auc_change_low": float(outside.macro - inside.macro - 1.96 * spread),
                "auc_change_high": float(outside.macro - inside.macro + 1.96 * spread),
                "log_loss_raw": float(-np.log(raw[own, labels].clip(1e-9)).mean()),
                "log_loss": float(-np.log(probs[own, labels]).mean()), "unlike": float(fresh["unlike"].mean()),
                **strange,
            }
        )  # fmt: skip
    return rows


def _calibration_errors(
    held_out: Predictions, inner: Predictions, n_models: int, raw: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Standard deviation of each class's slope over calibrations learnt from resampled patients of the study."""
    rng, patients, slopes = np.random.default_rng(0), np.array(held_out.patients), []
    for _ in range(RESAMPLES):
        drawn = pd.DataFrame({PATIENT: rng.choice(patients, len(patients))})
        drawn["new"] = [f"{i:05}" for i in range(len(drawn))]
        tables = [drawn.merge(each.table, on=PATIENT).drop(columns=PATIENT) for each in (held_out, inner)]
        parts = [Predictions(held_out.classes, table.rename(columns={"new": PATIENT})) for table in tables]
        calibrated = calibrate_mean(parts[0], parts[1], n_models).apply(raw)
        slopes.append([slope_of(calibrated, labels, c) for c in range(calibrated.shape[1])])
    errors: np.ndarray = np.std(slopes, axis=0)
    return errors


def study(options: argparse.Namespace, folder: Path, pool: ProcessPoolExecutor) -> Iterator[list[dict[str, object]]]:
    """Simulate, train, freeze and test; yields the rows of each model."""
    from fusion_ln.frozen.freeze import freeze
    from fusion_ln.training.run import run_fusions

    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", flush=True)

    device = DeviceSettings(device=options.device, workers=0 if options.device == "cuda" else options.workers)
    fit = FitSettings(backbone=options.backbone, epochs=options.epochs, image_size=96)
    size = min(PART, options.fresh)
    parts = [(folder / f"fresh-{i}", 1000 + i, size) for i in range(-(-options.fresh // size))]
    drawn = [pool.submit(simulate_part, *part) for part in [(folder / "study", 1, options.patients), *parts]]
    if options.organ_patients:
        source = pretrain_on_organs(
            folder, fit.model_copy(update={"epochs": options.pretraining_epochs}), options.organ_patients, device
        )
        fit = fit.model_copy(update={"weights": str(source)})
    root, *fresh = [each.result() for each in drawn]
    say("simulated and pre-trained")
    cohort = load_cohort(root)
    train = partial(train_baseline, root, folder / "runs", fit, device)
    baselines = list((pool.map if options.device == "cuda" else map)(train, cohort.modalities))
    say("baselines trained")
    fusions = run_fusions(cohort, baselines, HEADS, folder / "runs", device=device)
    say("heads trained")
    models = []
    for run in fusions:
        for answer in ("ensemble", "refit"):
            started, out = time.monotonic(), folder / "models" / f"{run.name}-{answer}"
            freeze(run, out, licence="none", answer=answer, device=device)
            say(f"{out.name} frozen in {time.monotonic() - started:.1f} s")
            answers = [pool.submit(predict_part, out, part) for part in fresh]
            models.append((run, answer, answers, pool.submit(flagged, out, options.busi)))
    for run, answer, answers, strange in models:
        table = pd.concat([part.result() for part in answers], ignore_index=True)
        yield assess(run.name.removeprefix("fusion-"), answer, run, table, strange.result())
        say(f"{run.name}, {answer}: tested")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--patients", type=int, default=586)
    parser.add_argument("--fresh", type=int, default=2000)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--organ-patients", type=int, default=240, help="of each task; 0: no pre-training")
    parser.add_argument("--pretraining-epochs", type=int, default=10)
    parser.add_argument("--busi", type=Path, default=Path("shared/data/busi"), help="real pictures of the breast")
    parser.add_argument("--table", type=Path, default=TABLE)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        os.environ.setdefault("FUSIONLN_CACHE", f"{folder}/cache")
        rows: list[dict[str, object]] = []
        for found in study(options, Path(folder), pool):  # kept model by model, should time run out
            rows += found
            table = pd.DataFrame(rows)
            write_text(options.table, table.round(4).to_csv(index=False))
            write_text(options.table.with_suffix(".md"), page(table, options))
        write_text(options.table.with_suffix(".md"), page(table, options) + speeds(Path(folder)))
    print(table.to_string(index=False, float_format="%.3f"))


def _line(row: pd.Series) -> str:
    spans = ["{:.3f} ({:.3f} to {:.3f})", "{:.2f} ({:.2f} to {:.2f})"]
    named = zip(spans, ("coverage", "slope"), strict=True)
    texts = [span.format(*(row[f"{name}{end}"] for end in ("", "_low", "_high"))) for span, name in named]
    change = f"{row['auc_change_low']:+.3f} to {row['auc_change_high']:+.3f}"
    figures = [f"{row[name]:.3f}" for name in ("log_loss_raw", "log_loss", "unlike", "noise", "busi")]
    own = [row["model"], row["answer"], row["class"], str(row["patients"])]
    return f"| {' | '.join([*own, *texts, f'{row.auc_out_of_fold:.3f}', f'{row.auc:.3f}', change, *figures])} |"


def page(table: pd.DataFrame, options: argparse.Namespace) -> str:
    """The kept page: figures of the trained study."""
    lines = [
        "# Is a frozen model as good as its figures?\n",
        f"{describe_origin('torch', 'numpy')} Device: {options.device}.\n",
        f"A phantom study of {options.patients} patients ({options.backbone}, 96 px, {options.epochs} epochs), frozen, "
        f"on {int(table.groupby(['model', 'answer'])['patients'].sum().iloc[0]):,} fresh patients; sets at 90 %:\n",
        f"| {HEADINGS.replace(', ', ' | ')} | unlike: fresh | noise | BUSI |",
        "| --- " * 14 + "|",
        *table.apply(_line, axis=1),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
