"""Training of fusion heads on the tokens of finished baselines, fold by fold, for every subset of the modalities."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import CohortError
from fusion_ln.files import write_json, write_parquet
from fusion_ln.metrics import describe
from fusion_ln.models.checkpoint import save_head
from fusion_ln.models.fusion import FusionHead, TripletShape, build_head
from fusion_ln.predictions import Predictions, predictions_from_logits, read_predictions, write_predictions
from fusion_ln.progress import progress
from fusion_ln.runs import RunFolder, new_record
from fusion_ln.settings import HeadSettings, TrainedFusionSettings
from fusion_ln.terms import LABEL, MODALITIES_USED, PATIENT, SITE
from fusion_ln.training.crossval import describe_cohort, fold_record, history_table
from fusion_ln.training.device import precision_of
from fusion_ln.training.fit import derive_seed, fit
from fusion_ln.training.fuse import finished_baseline
from fusion_ln.training.tasks import PatientLogits, Source, Verdict
from fusion_ln.training.tokens import TripletBank, TripletBatch, TripletBatches, picture_tokens, triplet_bank


@dataclass(frozen=True)
class FusionTask:
    """Tell the classes apart from a patient's tokens, also where modalities are missing."""

    model: FusionHead
    modality_dropout: float

    def loss(self, model: nn.Module, batch: TripletBatch, device: torch.device) -> Tensor:
        """Cross-entropy, each present modality left out at random, but never all of a patient's."""
        triplets = batch.triplets.to(device)
        there = triplets.present.any(2)
        kept = there & (torch.rand(there.shape, device=device) >= self.modality_dropout)
        kept = torch.where(kept.any(1, keepdim=True), kept, there)
        logits: Tensor = model(triplets.of(kept))
        return F.cross_entropy(logits, batch.labels.to(device))

    def judge(self, batches: Source[TripletBatch], device: torch.device) -> Verdict:
        """Score with all pictures there are."""
        return self.predict(batches, device).verdict

    def predict(
        self, batches: Source[TripletBatch], device: torch.device, modalities: Sequence[bool] | None = None
    ) -> PatientLogits:
        """Logits of the patients of ``batches`` who have all of some modalities, from these alone (None: any, all)."""
        model = self.model.eval()
        logits, labels, patients = [], [], []
        with torch.inference_mode():
            for batch in batches.in_order():
                triplets, complete = batch.triplets.to(device), np.ones(len(batch.patients), dtype=bool)
                if modalities is not None:
                    chosen = torch.tensor(modalities)
                    complete = batch.triplets.present.any(2)[:, chosen].all(1).numpy()
                    triplets = triplets.of(chosen.to(device))
                if complete.any():
                    logits.append(model(triplets).double().cpu().numpy()[complete])
                    labels.append(batch.labels.numpy()[complete])
                    patients += batch.patients[complete].tolist()
        return PatientLogits(patients, np.concatenate(labels), np.concatenate(logits))


@dataclass(frozen=True)
class FoldResult:
    """What a fold adds to the run's tables."""

    held_out: pd.DataFrame
    inner: pd.DataFrame
    subsets: pd.DataFrame
    history: pd.DataFrame
    record: dict[str, Any]


def train_head(
    cohort: Cohort,
    members: list[RunFolder],
    settings: HeadSettings,
    run: RunFolder,
    *,
    seed: int,
    fabric: Fabric,
) -> Predictions:
    """Train a head for every outer fold on the tokens of that fold's own baselines, and write the run.

    Besides the out-of-fold predictions the run holds those from every subset of the modalities
    (``subset_predictions.parquet``), of the patients who have all of it.

    Raises:
        RunError: If a member is not a finished baseline of this cohort and folds, or ``run`` is another run.
        CohortError: If a clinical column is missing, constant, or not a number.
    """
    own = {s.modality: s for s in (finished_baseline(cohort, member) for member in members)}
    clinical = _clinical_columns(cohort, settings.clinical)
    recorded = TrainedFusionSettings(head=settings.head, members=own, training=settings, seed=seed)
    record = new_record(
        "fusion",
        recorded.model_dump(mode="json"),
        describe_cohort(cohort),
        cohort_path=str(cohort.root.resolve()),
        members=[os.path.relpath(member.root, run.root) for member in members],
    )
    if run.claim(record) and run.finished:
        return read_predictions(run.predictions)
    folds = []
    labels = cohort.patients.set_index(PATIENT)[LABEL]
    with progress(run.name, cohort.n_folds) as step:
        for number in range(cohort.n_folds):
            pictures = [picture_tokens(cohort, member, number, settings, fabric.device) for member in members]
            bank = triplet_bank(pictures, labels, _standardised(clinical, cohort, number))
            folds.append(_train_fold(cohort, bank, list(own), settings, run, number, seed, fabric))
            step("")
    predictions = Predictions(
        cohort.classes, pd.concat([f.held_out for f in folds]).sort_values(PATIENT, ignore_index=True)
    )
    counted = {"predicted": len(predictions.table), "skipped": len(cohort.patients) - len(predictions.table)}
    write_json(run.record, {**record, "folds": [f.record for f in folds], "patients": counted})
    write_parquet(run.history, pd.concat([f.history for f in folds]))
    write_parquet(run.subset_predictions, pd.concat([f.subsets for f in folds]))
    write_predictions(run.inner_predictions, Predictions(cohort.classes, pd.concat([f.inner for f in folds])))
    write_json(run.metrics, describe(predictions))
    write_predictions(run.predictions, predictions)
    return predictions


def subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """All non-empty subsets, smallest first, each in the order of the modalities."""
    sizes = range(1, len(modalities) + 1)
    return [subset for size in sizes for subset in itertools.combinations(modalities, size)]


def _train_fold(
    cohort: Cohort,
    bank: TripletBank,
    modalities: list[str],
    settings: HeadSettings,
    run: RunFolder,
    number: int,
    seed: int,
    fabric: Fabric,
) -> FoldResult:
    """Fit the head of one fold and keep it."""
    seed = derive_seed(seed, number)
    training, inner = cohort.training_part(number)
    parts = {"training": training, "inner": inner, "out": cohort.held_out(number)}
    batches = {name: TripletBatches(bank, bank.of(who), settings.batch_size, seed=seed) for name, who in parts.items()}
    shape = TripletShape(
        n_modalities=len(modalities),
        n_features=bank.pictures[0].tokens.shape[-1],
        n_classes=len(cohort.classes),
        n_clinical=bank.clinical.shape[1],
    )
    torch.manual_seed(seed)
    task = FusionTask(build_head(settings, shape), settings.modality_dropout)
    folder = run.fold(number)
    result = fit(
        task, batches["training"], batches["inner"], settings=settings, seed=seed, fabric=fabric, folder=folder
    )
    save_head(run.checkpoint(number), result.weights, settings, shape)
    for state in folder.glob("*.ckpt"):
        state.unlink()
    task.model.load_state_dict(result.weights)
    said = {
        "+".join(subset): task.predict(batches["out"], fabric.device, [m in subset for m in modalities])
        for subset in subsets(modalities)
    }
    return FoldResult(
        held_out=_table(cohort, number, task.predict(batches["out"], fabric.device)),
        inner=_table(cohort, number, task.predict(batches["inner"], fabric.device)),
        subsets=pd.concat([_table(cohort, number, s).assign(**{MODALITIES_USED: name}) for name, s in said.items()]),
        history=history_table(number, result),
        record=fold_record(number, result, precision_of(fabric)),
    )


def _table(cohort: Cohort, number: int, said: PatientLogits) -> pd.DataFrame:
    folds = np.full(len(said.patients), number)
    return predictions_from_logits(cohort.classes, said.patients, folds, said.labels, said.logits).table


def _clinical_columns(cohort: Cohort, columns: tuple[str, ...]) -> np.ndarray:
    """Values of clinical columns, one row per row of ``cohort.patients``; missing ones are NaN. Shape (P, K)."""
    values = []
    for column in columns:
        if column not in cohort.patients:
            known = ", ".join(c for c in cohort.patients.columns if c not in (PATIENT, LABEL, SITE))
            raise CohortError(f"cohort {cohort.name}: no clinical column {column!r}.", f"It has {known}.")
        held = cohort.patients[column]
        if held.nunique() < 2:
            raise CohortError(
                f"cohort {cohort.name}: column {column!r} is constant, so it tells nothing.",
                "Leave it out of `--clinical`.",
            )
        if not pd.api.types.is_numeric_dtype(held):
            kinds = held.dropna().unique()
            if len(kinds) != 2:
                raise CohortError(
                    f"cohort {cohort.name}: column {column!r} is text with {len(kinds)} values; "
                    "a number, or two values, is needed.",
                    "Leave it out of `--clinical`, or code it as numbers in the source.",
                )
            held = held.map({kind: position for position, kind in enumerate(sorted(kinds))})
        values.append(held.to_numpy(dtype=np.float64))
    return np.stack(values, 1) if values else np.zeros((len(cohort.patients), 0))


def _standardised(values: np.ndarray, cohort: Cohort, fold: int) -> np.ndarray:
    """Mean 0 and standard deviation 1 over the fold's training patients; a missing value is the mean. float32."""
    training = cohort.patients[PATIENT].isin(cohort.training_part(fold)[0]).to_numpy()
    mean, spread = np.nanmean(values[training], axis=0), np.nanstd(values[training], axis=0)
    scaled: np.ndarray = np.nan_to_num((values - mean) / np.where(spread > 0, spread, 1)).astype(np.float32)
    return scaled
