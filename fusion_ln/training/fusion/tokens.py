"""Tokens of every picture from a fold's baselines, computed once and kept on disk, and batches of patients of them."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from fusion_ln.cohort.clinical import clinical_values
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.compute.device import autocast
from fusion_ln.decode.stored import holds_array
from fusion_ln.errors import SettingsError
from fusion_ln.files.formats import write_rows
from fusion_ln.files.hashes import hash_file
from fusion_ln.files.locks import LOCK, locked
from fusion_ln.images.augment import augment
from fusion_ln.images.bank import ImageBank, open_bank
from fusion_ln.images.batches import Batches, as_network_input
from fusion_ln.images.patients import rows_by_patient
from fusion_ln.models.backbones import Backbone, create_backbone
from fusion_ln.models.checkpoint import load_member
from fusion_ln.models.classifier import Classifier
from fusion_ln.models.fusion.base import Triplets
from fusion_ln.models.precision import suited_precision
from fusion_ln.models.weights.places import begin_again
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import TokenSettings
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.terms import cache_folder
from fusion_ln.training.fit import derive_seed
from fusion_ln.training.parts import training_parts

VERSION = "tokens-3"  # part of the key: change it when what is stored changes
TRANSLATION_RIDGE = 10.0  # of features of the order of 1


@dataclass(frozen=True)
class PictureTokens:
    """Tokens of the N pictures of one modality in A versions: as they are, then augmented.

    Attributes:
        tokens: float16, shape (N, A, T, D), memory-mapped; augmented versions of training patients alone, else nan.
        logits: Of the fold's baseline, nan likewise. float32, shape (N, A, C).
        patients: Patient of each picture. Length N.
    """

    tokens: np.ndarray
    logits: np.ndarray
    patients: np.ndarray


def picture_tokens(
    cohort: Cohort, baseline: RunFolder, fold: int, settings: TokenSettings, device: torch.device
) -> PictureTokens:
    """Load the tokens of all pictures of a baseline's modality for one fold's head, or compute and store them.

    They lie in the cache folder under a key of the checkpoint's content, the pictures and the settings, so tokens
    of another network cannot be taken for them. Cross-fitted ones are those of the fold's network, but for the
    training patients: see `_cross_fitted`.

    Raises:
        RunError: If a checkpoint is missing.
        SettingsError: If pre-trained tokens are asked for but the baseline began from scratch.
    """
    fitted = _stored(cohort, baseline, fold, settings, device)
    if settings.tokens != "cross-fitted":
        return fitted
    return _cross_fitted(fitted, cohort, baseline, fold, settings, device)


def _stored(
    cohort: Cohort,
    run: RunFolder,
    fold: int,
    settings: TokenSettings,
    device: torch.device,
    *,
    part: int | None = None,
) -> PictureTokens:
    """Load or compute the tokens of all pictures of a network's modality; they are memory-mapped."""
    path = run.checkpoint(fold) if part is None else run.cross_checkpoint(fold, part)
    model, checkpoint = load_member(run, fold, part)
    baseline = begin_again(checkpoint.settings, run)
    bank = open_bank(cohort, baseline.modality, baseline.fit.image_size)
    files = token_files(cohort, baseline.modality, path, settings, fold)
    if not all(map(holds_array, files.values())):
        with locked(files["tokens"].with_suffix(LOCK)):  # one of the processes computes, the others wait
            if not all(map(holds_array, files.values())):
                training = cohort.training_part(fold)[0]
                computed = compute_tokens(model, baseline, bank, settings, device=device, training=training)
                for name, values in (("logits", computed.logits), ("tokens", computed.tokens)):
                    write_rows(files[name], values, values.shape, values.dtype)
    return PictureTokens(
        tokens=np.load(files["tokens"], mmap_mode="r"), logits=np.load(files["logits"]), patients=bank.patients
    )


def token_files(cohort: Cohort, modality: str, checkpoint: Path, settings: TokenSettings, fold: int) -> dict[str, Path]:
    """Locate logits and tokens of a network's pictures for the heads of a fold, on disk or not."""
    source = "pretrained" if settings.tokens == "pretrained" else "fitted"
    parts = [VERSION, hash_file(checkpoint), source, str(settings.copies), str(settings.grid)]
    described = [*parts, *cohort.contents_of(modality), *cohort.training_part(fold)[0]]
    key = hashlib.sha256(" ".join(described).encode()).hexdigest()[:24]
    return {name: cache_folder() / "tokens" / f"{key}.{name}.npy" for name in ("logits", "tokens")}


def _cross_fitted(
    fitted: PictureTokens,
    cohort: Cohort,
    baseline: RunFolder,
    fold: int,
    settings: TokenSettings,
    device: torch.device,
) -> PictureTokens:
    """Replace the tokens of training patients by those of networks that did not see them, in the fold's feature space.

    Each network has a feature space of its own. On the pictures that both networks were trained on, a ridge
    regression predicts the tokens of the fold's network from those of the other one; it is then applied to the
    pictures that the other one never saw. Logits need no translation.
    """
    tokens, logits = np.array(fitted.tokens), fitted.logits.copy()
    parts = training_parts(cohort, fold)
    for number, part in enumerate(parts):
        other = _stored(cohort, baseline, fold, settings, device, part=number)
        unseen = np.isin(fitted.patients, part)
        seen = np.isin(fitted.patients, [patient for those in parts if those is not part for patient in those])
        width = tokens.shape[-1]
        translate = Ridge(alpha=TRANSLATION_RIDGE).fit(
            other.tokens[seen].reshape(-1, width).astype(np.float32),
            fitted.tokens[seen].reshape(-1, width).astype(np.float32),
        )
        translated = translate.predict(other.tokens[unseen].reshape(-1, width).astype(np.float32))
        tokens[unseen] = translated.reshape(tokens[unseen].shape).astype(np.float16)
        logits[unseen] = other.logits[unseen]
    return PictureTokens(tokens, logits, fitted.patients)


def compute_tokens(
    model: Classifier,
    baseline: BaselineSettings,
    bank: ImageBank,
    settings: TokenSettings,
    *,
    device: torch.device,
    training: Collection[str] | None = None,
) -> PictureTokens:
    """Compute tokens and logits of all pictures of a bank: as they are, and in as many augmented versions as is set.

    Args:
        model: The baseline.
        baseline: Its settings.
        bank: Its modality's pictures.
        settings: Of the head that will see the tokens.
        device: Where to compute.
        training: Patients of whom a head sees augmented versions; None: all.

    Raises:
        SettingsError: If pre-trained tokens are asked for but the baseline began from scratch.
    """
    source, model = _source(model, baseline, settings).eval().to(device), model.eval().to(device)
    batches = Batches(bank, np.arange(len(bank.patients)), batch_size=64)
    found = []
    torch.manual_seed(derive_seed(0))  # the augmented versions
    precision = suited_precision(baseline.fit.precision, [baseline.fit], device.type)
    with torch.inference_mode(), autocast(device, precision):
        for batch in batches.in_order():
            pictures = as_network_input(batch.pictures.to(device))
            versions = [augment(pictures, baseline.modality, baseline.fit.augmentation) for _ in range(settings.copies)]
            taught = np.isin(batch.patients, list(batch.patients if training is None else training))
            found.append(_look(model, source, pictures, versions, torch.from_numpy(taught).to(device), settings.grid))
    logits, tokens = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
    return PictureTokens(tokens, logits, bank.patients)


def _look(
    model: Classifier, source: Backbone, pictures: Tensor, versions: list[Tensor], taught: Tensor, grid: int
) -> tuple[Tensor, Tensor]:
    """Compute logits (B, A, C) and tokens (B, A, T, D) of pictures and, of those that are ``taught``, of versions."""

    def compute(given: Tensor) -> tuple[Tensor, Tensor]:
        features = model.backbone.feature_map(given)
        logits = model.head(model.backbone.pool(features)).float().cpu()
        if source is not model.backbone:
            features = source.feature_map(given)
        return logits, source.tokens(features, grid).half().cpu()

    own, kept = compute(pictures), taught.cpu()
    # Filled, not concatenated: under a CPU's autocast torch 2.11 concatenates no float16.
    logits, tokens = (each.new_full((len(each), 1 + len(versions), *each.shape[1:]), torch.nan) for each in own)
    logits[:, 0], tokens[:, 0] = own
    for place, version in enumerate(versions if kept.any() else (), start=1):
        logits[kept, place], tokens[kept, place] = compute(version[taught])
    return logits, tokens


def _source(model: Classifier, baseline: BaselineSettings, settings: TokenSettings) -> Backbone:
    """Choose the network that the tokens come from."""
    if settings.tokens != "pretrained":
        return model.backbone
    if baseline.fit.weights == "scratch":
        raise SettingsError(
            "--tokens pretrained: the baselines were trained from scratch, so there is no pre-trained network.",
            "Train them with `--weights`, or take `--tokens fitted`.",
        )
    return create_backbone(baseline.fit.backbone, image_size=baseline.fit.image_size, weights=baseline.fit.weights)


@dataclass(frozen=True)
class TokenBatch:
    """Some patients as a fusion head takes them."""

    triplets: Triplets
    labels: Tensor
    patients: np.ndarray

    @property
    def modalities_present(self) -> Tensor:
        """Presence mask of the modalities. bool, shape (B, M)."""
        return self.triplets.present.any(2)

    def inputs(self, kept: Tensor, device: torch.device) -> tuple[Triplets]:
        """Prepare the input of a head from the ``kept`` modalities (B, M)."""
        return (self.triplets.of(kept).to(device),)


@dataclass(frozen=True)
class TokenBank:
    """Tokens and logits of all patients of a cohort with a picture, from a fold's baselines.

    Attributes:
        pictures: Tokens by modality, in the order of the heads.
        rows: Rows of ``pictures`` that belong to each patient, -1 where there is none. Shape (P, M, V).
        patients: Sorted. Shape (P,).
        labels: Shape (P,).
        clinical: Standardised on the training part. float32, shape (P, K).
    """

    pictures: list[PictureTokens]
    rows: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    clinical: np.ndarray

    def of(self, patients: list[str]) -> np.ndarray:
        """Find the positions of those of ``patients`` who have a picture."""
        return np.flatnonzero(np.isin(self.patients, patients))

    def cut(self, positions: np.ndarray, rng: np.random.Generator | None = None) -> TokenBatch:
        """Gather the patients at some positions, as they are; with ``rng`` every modality in a random version."""
        n_versions = self.pictures[0].logits.shape[1]
        shape = (len(positions), len(self.pictures))
        versions = np.zeros(shape, dtype=int) if rng is None else rng.integers(0, n_versions, shape)
        rows = self.rows[positions]
        tokens = [p.tokens[rows[:, m], versions[:, [m]]] for m, p in enumerate(self.pictures)]  # (B, V, T, D) each
        logits = [p.logits[rows[:, m], versions[:, [m]]] for m, p in enumerate(self.pictures)]
        triplets = Triplets(
            tokens=torch.from_numpy(np.stack(tokens, 1)),
            logits=torch.from_numpy(np.stack(logits, 1)),
            present=torch.from_numpy(rows >= 0),
            clinical=torch.from_numpy(self.clinical[positions]),
        )
        return TokenBatch(triplets, torch.from_numpy(self.labels[positions]), self.patients[positions])


def token_bank(pictures: list[PictureTokens], labels: pd.Series, clinical: pd.DataFrame) -> TokenBank:
    """Gather the pictures of each patient, by patient, never by position.

    Args:
        pictures: Tokens by modality.
        labels: Class of every patient, by patient.
        clinical: Clinical columns of every patient, by patient; see `standardise`.
    """
    patients, rows = rows_by_patient([p.patients for p in pictures])
    return TokenBank(pictures, rows, patients, labels.loc[patients].to_numpy(), clinical_values(clinical, patients))
