"""A distilled student: one network per modality and one head that learn what the ensemble's fused answer is.

Question  Does a model of a fifth of the weights keep the frozen ensemble's accuracy, and do soft targets serve it
          beyond a refit on the labels?
Command   python experiments/accuracy/distilled.py RUNS     (the folder of `fusionln run fusion`; it goes on if stopped)
Time      about 8 CPU minutes
Expect    a fifth of the weights and of the time costs no AUC that 400 fresh patients tell; soft targets bring
          nothing beyond the labels, alone they cost 0.009, so `fusionln freeze --as refit` is the small model
          (it writes benchmarks/distilled.md)

A patient's soft target is the calibrated out-of-fold answer of the fused model, which never saw the patient, at equal
shares of the classes, as training draws them. Refit and students learn from all patients of the study, for as many
epochs as the refit does; all are judged on fresh simulated patients, whom nobody saw, once.
"""

import argparse
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median_high
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from missing import fresh_cohort
from missing_answers import gather_fresh, tokens_of_fresh
from parallel_training import processes_of_one_thread
from repeated_heads import AUC, CLASS, RECALL, SHOWN, labels_of

from fusion_ln.bench.page import describe_origin, table_head, table_row
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import open_run_cohort
from fusion_ln.compute.fabric import make_fabric
from fusion_ln.evaluation.intervals import Resampled, mean_of, resample
from fusion_ln.evaluation.limits.shares import wilson_of_few
from fusion_ln.evaluation.probabilities.maps import calibrate
from fusion_ln.files.formats import write_text
from fusion_ln.images.augment import augment
from fusion_ln.images.bank import open_bank
from fusion_ln.images.batches import Batch, Batches, as_network_input
from fusion_ln.models.checkpoint import Checkpoint, load_head, save_checkpoint, save_head
from fusion_ln.models.classifier import Classifier, build_classifier
from fusion_ln.models.fusion.base import HeadEnsemble, TripletShape
from fusion_ln.models.weights.places import begin_again
from fusion_ln.predictions import Predictions, predictions_from_logits, read_inner_predictions, read_predictions
from fusion_ln.records.kinds import TrainedFusionRecord
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.terms import LABEL, PATIENT
from fusion_ln.training.fit import derive_seed, fit
from fusion_ln.training.fusion.heads import fold_tokens
from fusion_ln.training.fusion.late import finished_baseline
from fusion_ln.training.fusion.task import FusionBatch, FusionTask, PatientBatches
from fusion_ln.training.tasks import PictureTask

PAGE = Path(__file__).parents[1] / "benchmarks" / "distilled.md"
SHARES, SEEDS = (0.0, 0.5, 1.0), (0, 1, 2)  # of the soft target in the loss; without it a student is a refit
CPU = DeviceSettings(device="cpu", workers=1)
RESAMPLES = 2000
Targets = dict[str, torch.Tensor]  # probabilities (C,) by patient


def targets_of(run: RunFolder, cohort: Cohort) -> Targets:
    """Read each patient's calibrated out-of-fold probabilities, at equal shares of the classes."""
    calibrated = calibrate(read_predictions(run.predictions), read_inner_predictions(run.inner_predictions))
    even = calibrated.at(np.full(len(cohort.classes), 1 / len(cohort.classes)))
    return dict(zip(even.patients, torch.from_numpy(even.probs).float(), strict=True))


def soft_loss(
    logits: torch.Tensor, labels: torch.Tensor, soft: torch.Tensor, share: float, smoothing: float = 0.0
) -> torch.Tensor:
    """Mix the cross-entropy to the labels, smoothed as in the study, with that to soft targets."""
    hard = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    return (1 - share) * hard + share * F.cross_entropy(logits, soft)


@dataclass(frozen=True)
class SoftPictures(PictureTask):
    """Classification of pictures towards soft targets."""

    targets: Targets | None = None
    share: float = 0.0

    def loss(self, model: torch.nn.Module, batch: Batch, device: torch.device) -> torch.Tensor:
        """Compute the loss of one batch, augmented."""
        logits = model(augment(as_network_input(batch.pictures.to(device)), self.modality, self.augmentation))
        soft = _stack(self.targets, batch.patients)
        return soft_loss(logits, batch.labels.to(device), soft, self.share, self.label_smoothing)


@dataclass(frozen=True)
class SoftFusion(FusionTask):
    """Classification of patients towards soft targets."""

    targets: Targets | None = None
    share: float = 0.0

    def loss(self, model: torch.nn.Module, batch: FusionBatch, device: torch.device) -> torch.Tensor:
        """Compute the loss of one batch."""
        present = batch.modalities_present
        kept = present & (torch.rand(present.shape) >= self.modality_dropout)
        kept = torch.where(kept.any(1, keepdim=True), kept, present)
        soft = _stack(self.targets, batch.patients)
        return soft_loss(model(*batch.inputs(kept, device)), batch.labels.to(device), soft, self.share)


def _stack(targets: Targets | None, patients: np.ndarray) -> torch.Tensor:
    assert targets is not None
    return torch.stack([targets[patient] for patient in patients])


def median_epochs(run: RunFolder) -> int:
    """Return the number of epochs that a refit trains."""
    return median_high(fold.best_epoch + 1 for fold in run.read_prediction_record().folds)


def distil(runs: Path, head: str, out: Path, share: float, seed: int) -> None:
    """Train one student, whose files lie beside copies of the runs' records; what is there already stays."""
    fusion = RunFolder(runs / f"fusion-{head}")
    cohort, members = open_run_cohort(fusion, None), fusion.baselines()
    fold, targets, copies = cohort.n_folds, targets_of(fusion, cohort), []
    for member in members:
        copy = RunFolder(out / member.name)
        if not copy.checkpoint(fold).is_file():
            copy.root.mkdir(parents=True, exist_ok=True)
            shutil.copy(member.record, copy.record)
            distil_network(cohort, member, copy, targets, share, seed)
        copies.append(copy)
    file = RunFolder(out / fusion.name).checkpoint(fold)
    if not file.is_file():
        distil_head(cohort, fusion, copies, file, targets, share, seed)


def distil_network(
    cohort: Cohort, member: RunFolder, copy: RunFolder, targets: Targets, share: float, seed: int
) -> None:
    """Train the network of a modality on all patients."""
    baseline, fold, drawn = finished_baseline(cohort, member), cohort.n_folds, derive_seed(seed, cohort.n_folds)
    settings = begin_again(baseline, member).fit
    bank, (patients, _) = open_bank(cohort, baseline.modality, settings.image_size), cohort.training_part(fold)
    torch.manual_seed(drawn)
    model = build_classifier(settings, len(cohort.classes))
    task = SoftPictures(
        baseline.modality,
        model,
        augmentation=settings.augmentation,
        label_smoothing=settings.label_smoothing,
        targets=targets,
        share=share,
    )
    rows = Batches(bank, bank.rows_of(patients), settings.batch_size, drawn, oversample=True)
    fabric, stop = make_fabric(CPU, settings.precision), median_epochs(member)
    with TemporaryDirectory() as states:
        result = fit(task, rows, None, settings=settings, seed=drawn, fabric=fabric, folder=Path(states), stop=stop)
    assert isinstance(model, Classifier)
    described = Checkpoint(baseline, cohort.classes, fold)
    save_checkpoint(copy.checkpoint(fold), result.weights, described, model.backbone.network)


def distil_head(
    cohort: Cohort, fusion: RunFolder, members: list[RunFolder], file: Path, targets: Targets, share: float, seed: int
) -> None:
    """Train the head on the tokens of a student's networks."""
    record, fold = fusion.read_prediction_record(), cohort.n_folds
    assert isinstance(record, TrainedFusionRecord)
    settings, fabric, drawn = record.settings.training, make_fabric(CPU, "32-true"), derive_seed(seed, fold, 0)
    bank = fold_tokens(cohort, members, settings, fold, (), fabric.device)
    shape = TripletShape(len(members), bank.pictures[0].tokens.shape[-1], len(cohort.classes), 0)
    torch.manual_seed(derive_seed(seed, fold))
    heads = HeadEnsemble(settings, shape)
    task = SoftFusion(heads.heads[0], settings.modality_dropout, settings.auxiliary, targets, share)
    rows = PatientBatches(bank, bank.of(cohort.training_part(fold)[0]), settings.batch_size, drawn)
    stop = median_epochs(fusion)
    with TemporaryDirectory() as states:
        result = fit(task, rows, None, settings=settings, seed=drawn, fabric=fabric, folder=Path(states), stop=stop)
    heads.heads[0].load_state_dict(result.weights)
    save_head(file, heads.state_dict(), settings, shape, fold=fold)


@dataclass(frozen=True)
class Judged:
    """Answers of a model to the fresh patients, CPU seconds that they took, and bytes of its weights."""

    predictions: Predictions
    seconds: float
    size: int


def judge(
    members: list[RunFolder], fusion: RunFolder, folds: Iterator[int], fresh: Cohort, record: RunFolder
) -> Judged:
    """Ask the models of some folds about fresh patients; several answer with the mean of their probabilities."""
    described = record.read_prediction_record()
    assert isinstance(described, TrainedFusionRecord)
    probs, began, size = [], time.process_time(), 0
    for fold in folds:
        head, _ = load_head(fusion.checkpoint(fold), fold, described.settings.training)
        with torch.inference_mode():
            probs.append(
                head(gather_fresh([tokens_of_fresh(m, fresh, fold) for m in members], fresh))
                .softmax(1)
                .double()
                .numpy()
            )
        size += sum(run.checkpoint(fold).stat().st_size for run in (*members, fusion))
    seconds, patients = time.process_time() - began, fresh.patients[PATIENT].tolist()
    labels = fresh.patients[LABEL].to_numpy()
    logits = np.log(np.mean(probs, axis=0))
    return Judged(
        predictions_from_logits(fresh.classes, patients, np.zeros(len(labels), int), labels, logits), seconds, size
    )


def render(judged: dict[str, list[Judged]], study: str, origin: str) -> str:
    """Write the page."""
    flat = [each.predictions for held in judged.values() for each in held]
    resampled = iter(resample(flat, n_resamples=RESAMPLES, seed=0, metrics=SHOWN, share_limits=wilson_of_few))
    means = {title: mean_of([next(resampled) for _ in held]) for title, held in judged.items()}
    ensemble, (_, refitted, *_) = next(iter(means.values())), means.values()
    lines = [
        "# A distilled student of the fused ensemble", "", origin, "",
        f"Trained on {study}, judged once on {len(flat[0].patients)} fresh "
        f"ones; macro AUC, recall of {CLASS} by the most probable class, classes weighed equally. *Soft* is the share "
        "of the ensemble's calibrated out-of-fold answer in the loss, the rest is the label. Means over the seeds of "
        "the training on all patients; 95 % intervals are for other patients at test, the trained models given. "
        f"Seconds: CPU, of all fresh patients, pictures prepared; load of the machine {os.getloadavg()[0]:.0f}.", "",
        *table_head(["model", "seeds", "AUC", "to the ensemble", "to the refit", f"recall of {CLASS}", "MB", "CPU s"]),
    ]  # fmt: skip
    for title, held in judged.items():
        mean = means[title]
        size, seconds = np.mean([(each.size / 1e6, each.seconds) for each in held], axis=0)
        gains = [_gain(mean, other) for other in (ensemble, refitted)]
        auc, recall = (mean.value[place] for place in (AUC, RECALL))
        cells = [title, str(len(held)), f"{auc:.3f}", *gains, f"{recall:.2f}", f"{size:.0f}", f"{seconds:.1f}"]
        lines.append(table_row(cells))
    return "\n".join([*lines, ""])


def _gain(mean: Resampled, other: Resampled) -> str:
    if mean is other:
        return ""
    low, high = (end[AUC] for end in mean.difference_interval(other))
    return f"{mean.value[AUC] - other.value[AUC]:+.3f} ({low:+.3f} to {high:+.3f})"


def main() -> None:
    """Train the students that are missing, judge all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="Folder with the fusion of a trained head and its baselines.")
    parser.add_argument("--head", default="concat", help="The trained head.")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="Seeds of the training.")
    parser.add_argument("--workers", type=int, default=2, help="Students at once.")
    options = parser.parse_args()
    fusion = RunFolder(options.runs / f"fusion-{options.head}")
    folders = {
        (share, seed): options.runs / "distilled" / f"{share:g}-{seed}"
        for seed, share in product(options.seeds, SHARES)
    }
    with processes_of_one_thread(options.workers) as pool:
        for job in [pool.submit(distil, options.runs, options.head, out, *key) for key, out in folders.items()]:
            job.result()
    cohort, fresh, members = open_run_cohort(fusion, None), fresh_cohort(), fusion.baselines()
    judged = {f"ensemble of {cohort.n_folds}": [judge(members, fusion, iter(range(cohort.n_folds)), fresh, fusion)]}
    for share in SHARES:
        title = f"student, {share:.0%} soft" if share else "refit on the labels"
        judged[title] = [
            judge(
                [RunFolder(folders[share, seed] / member.name) for member in members],
                RunFolder(folders[share, seed] / fusion.name),
                iter([cohort.n_folds]),
                fresh,
                fusion,
            )
            for seed in options.seeds
        ]
    study = f"{len(cohort.patients)} **simulated** patients ({labels_of(cohort, members[0])}; head: {options.head})"
    write_text(PAGE, render(judged, study, describe_origin("torch", "timm")))
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
