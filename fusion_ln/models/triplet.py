"""A fold's whole model, from a patient's pictures to logits, for every kind of run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fusion_ln.cohort.clinical import ClinicalColumn
from fusion_ln.errors import RunError
from fusion_ln.images.patient_batch import PatientBatch
from fusion_ln.models.backbones import Backbone, Trunk, create_backbone
from fusion_ln.models.checkpoint import Checkpoint, load_head, load_member, load_tensors, load_weights
from fusion_ln.models.classifier import Classifier
from fusion_ln.models.fusion.base import HeadEnsemble, Triplets, mean_over_views
from fusion_ln.models.late.base import Learnt, ModalityLogits, load_late_head
from fusion_ln.models.weights.network import Network
from fusion_ln.records.kinds import BaselineRecord, ClinicalRecord, LateFusionRecord
from fusion_ln.records.parse import PredictionRecord
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import BaselineSettings

CPU = torch.device("cpu")


class Single(nn.Module):
    """No fusion: the mean of the logits over the views of the only modality."""

    def forward(self, triplets: Triplets) -> Tensor:
        """Predict the logits of each patient. Shape (B, C)."""
        return mean_over_views(triplets).logits[:, 0]


class LateFusion(nn.Module):
    """A late head with its learnt parameters."""

    def __init__(self, head: str, learnt: Learnt | None) -> None:
        super().__init__()
        self.head = head
        self.learnt = learnt or {}

    def forward(self, triplets: Triplets) -> Tensor:
        """Predict the logits of each patient. Shape (B, C)."""
        return load_late_head(self.head).apply(mean_over_views(triplets), self.learnt)

    def takes(self, n_modalities: int, n_classes: int) -> bool:
        """Test, on one patient, if what was learnt is of as many modalities and classes."""
        shape = (1, n_modalities, n_classes)
        patient = ModalityLogits(torch.zeros(shape, dtype=torch.float64), torch.ones(shape[:2], dtype=torch.bool))
        try:
            logits = load_late_head(self.head).apply(patient, self.learnt)
        except (ImportError, LookupError, TypeError, ValueError, RuntimeError):
            return False
        return logits.shape == (1, n_classes) and bool(logits.isfinite().all())


class TripletModel(nn.Module):
    """One network per modality followed by a fusion module.

    Attributes:
        members: The networks, by modality, in the order in which ``forward`` takes the pictures.
        fusion: `Single`, `LateFusion` or a `HeadEnsemble`; only the last reads tokens.
        sources: Networks that the tokens come from; the members themselves but for ``--tokens pretrained``.
        sides: Pixels a side of the pictures of each modality.
        columns: Clinical columns that the fusion takes besides.
    """

    def __init__(
        self,
        members: Mapping[str, Classifier],
        fusion: nn.Module,
        sides: Mapping[str, int],
        *,
        grid: int = 1,
        sources: Mapping[str, nn.Module] | None = None,
        columns: Sequence[ClinicalColumn] = (),
    ) -> None:
        super().__init__()
        self.members = nn.ModuleDict({module_key(modality): member for modality, member in members.items()})
        self.fusion = fusion
        self.sides = dict(sides)
        self.grid = grid
        self.columns = tuple(columns)
        self.sources = nn.ModuleDict({module_key(modality): source for modality, source in (sources or {}).items()})

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.sides)

    @property
    def networks(self) -> list[Network]:
        """Networks that the first weights of the members brought along, each once."""
        found: list[Network] = []
        for member in self.members.values():
            network = member.backbone.network if isinstance(member, Classifier) else None
            if network and network not in found:
                found.append(network)
        return found

    def train(self, mode: bool = True) -> Self:
        """Set the mode, but keep batch normalisation on the baselines' statistics: batches of triplets are small."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def forward(self, pictures: Sequence[Tensor], present: Tensor, clinical: Tensor | None = None) -> Tensor:
        """Predict the logits of each patient. Absent pictures are skipped.

        Args:
            pictures: Of each modality, up to V views, in [0, 1]. Each of shape (B, V, 3, S, S).
            present: Presence mask of the pictures. bool, shape (B, M, V), at least one per patient.
            clinical: Standardised columns (B, K), for a head that takes them.

        Returns:
            Shape (B, C).
        """
        parts = zip(self.modalities, pictures, present.unbind(1), strict=True)
        encoded = [self.encode(modality, views, views_present) for modality, views, views_present in parts]
        return self.fuse(encoded, present, clinical)

    def fuse(self, encoded: Sequence[tuple[Tensor, Tensor]], present: Tensor, clinical: Tensor | None = None) -> Tensor:
        """Fuse the output of `encode` of each modality to logits (B, C)."""
        tokens, logits = (torch.stack(parts, 1) for parts in zip(*encoded, strict=True))
        none = logits.new_zeros(present.shape[0], 0)  # `len` would fix the batch of an exported graph
        return self.fuse_stacked(tokens, logits, present, none if clinical is None else clinical)

    def fuse_stacked(self, tokens: Tensor, logits: Tensor, present: Tensor, clinical: Tensor) -> Tensor:
        """Fuse tokens (B, M, V, T, D'), logits (B, M, V, C) and columns (B, K) of all modalities to logits (B, C)."""
        fused: Tensor = self.fusion(Triplets(tokens, logits, present, clinical))
        return fused

    def features(self, modality: str, pictures: Tensor) -> Tensor:
        """Compute the features (B, D) that the head of a modality's network reads, of pictures (B, 3, S, S)."""
        backbone: Any = self.members[module_key(modality)].backbone
        features: Tensor = backbone(pictures)
        return features

    def encode(
        self, modality: str, views: Tensor, present: Tensor, trunk: Trunk | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute tokens (B, V, T, D) and logits (B, V, C) of a modality's views (B, V, 3, S, S), zero where absent."""
        pictures = views[present].contiguous(memory_format=torch.channels_last)
        # Without any picture, a black one gives the shapes.
        parts = self.read(modality, pictures if len(pictures) else pictures.new_zeros(1, *pictures.shape[1:]), trunk)
        spread = []
        for part in parts[:2]:
            padded = part.new_zeros(*present.shape, *part.shape[1:])
            padded[present] = part[: len(pictures)]
            spread.append(padded)
        return spread[0], spread[1]

    def read(self, modality: str, pictures: Tensor, trunk: Trunk | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Compute tokens (N, T, D'), logits (N, C) and features (N, D) of a modality's pictures (N, 3, S, S).

        There are no tokens where the fusion reads none. ``trunk`` computes the feature maps in place of the network.
        """
        member: Any = self.members[module_key(modality)]
        maps = (trunk or member.backbone.feature_map)(pictures)
        features = member.backbone.pool(maps)
        tokens = pictures.new_zeros(len(pictures), 0, 0)
        if isinstance(self.fusion, HeadEnsemble):
            source: Any = self.sources[module_key(modality)] if len(self.sources) else member.backbone
            tokens = source.tokens(source.feature_map(pictures) if len(self.sources) else maps, self.grid)
        return tokens, member.head(features), features


def module_key(modality: str) -> str:
    """Quote the name of a modality as a key of `torch.nn.ModuleDict`, which takes no dots and no names of its own."""
    key = modality.replace("%", "%25").replace(".", "%2E")
    return f"{key}%" if hasattr(nn.ModuleDict(), key) else key


def logits_of(model: TripletModel, batch: PatientBatch, *, device: torch.device = CPU) -> np.ndarray:
    """Predict a batch of patients with a fold's model, which is on ``device``. float64, shape (B, C)."""
    with torch.inference_mode():
        logits: np.ndarray = model(*batch.inputs(batch.modalities_present, device)).double().cpu().numpy()
    return logits


@dataclass(frozen=True)
class TrainedRun:
    """Models of a finished run.

    Attributes:
        run: Its folder.
        classes: Class names, in label order.
        simulated: Whether they were trained on simulated patients.
        models: One per outer fold, in evaluation mode on the CPU.
    """

    run: RunFolder
    classes: tuple[str, ...]
    simulated: bool
    models: list[TripletModel]

    @property
    def sides(self) -> dict[str, int]:
        """Modalities that the models take, with the pixels a side of their pictures."""
        return self.models[0].sides

    @property
    def clinical(self) -> list[str]:
        """Clinical columns that the models take besides pictures."""
        return [column.name for column in self.models[0].columns]


def load_run(run: RunFolder) -> TrainedRun:
    """Load the models of all folds of a finished run.

    Raises:
        RunError: If the run is a pre-training or not finished, or a checkpoint of it or of a member is missing.
    """
    record = run.read_prediction_record()
    if not run.finished:
        raise RunError(f"{run.root}: not finished.", "Give the command that began it again: it goes on from there.")
    models = [load_fold(run, fold) for fold in range(record.cohort.n_folds)]
    return TrainedRun(run, record.cohort.classes, record.cohort.simulated, models)


def load_fold(run: RunFolder, fold: int) -> TripletModel:
    """Load the model of one fold of a finished run.

    Raises:
        RunError: If the run is a pre-training, or a checkpoint of it or of a member is missing.
    """
    record = run.read_prediction_record()
    learnt = record.learnt if isinstance(record, LateFusionRecord) else None
    return _load_fold(run, record, fold, learnt[fold] if learnt else None)


def load_refit(run: RunFolder, learnt: Learnt | None) -> TripletModel:
    """Load the model of a run's refit, whose fold is the one after the last.

    Args:
        run: A finished run that was refitted.
        learnt: What its late head learnt in the refit.

    Raises:
        RunError: If a checkpoint is missing or does not fit the run.
    """
    record = run.read_prediction_record()
    return _load_fold(run, record, record.cohort.n_folds, learnt)


def _load_fold(run: RunFolder, record: PredictionRecord, fold: int, learnt: Learnt | None) -> TripletModel:
    if isinstance(record, ClinicalRecord):
        raise RunError(
            f"{run.root}: a model of columns of the cohort's table, which holds no network.",
            "Name a baseline or a fusion of pictures.",
        )
    if isinstance(record, BaselineRecord):
        return assemble([load_member(run, fold)], Single()).eval()
    loaded = [load_member(RunFolder(run.root / member), fold) for member in record.members]
    _check_members(run, record.settings.members, [checkpoint for _, checkpoint in loaded], fold)
    if isinstance(record, LateFusionRecord):
        fusion, n_members, n_classes = LateFusion(record.settings.head, learnt), len(loaded), len(record.cohort.classes)
        if not fusion.takes(n_members, n_classes):
            raise RunError(
                f"{run.record}: what {fusion.head} learnt in fold {fold} is not of {n_members} modalities and "
                f"{n_classes} classes.",
                "Restore the file, or fuse again: the command that made the run, with another `--out DIR`.",
            )
        return assemble(loaded, fusion).eval()
    settings = record.settings.training.of_fold(fold)
    model = assemble(loaded, *load_head(run.checkpoint(fold), fold, settings), settings)
    if settings.finetune:
        load_weights(model, load_tensors(run.checkpoint(fold)), run.checkpoint(fold))
    return model.eval()


def _check_members(
    run: RunFolder, members: Mapping[str, BaselineSettings], found: Sequence[Checkpoint], fold: int
) -> None:
    """Check that a fusion's baselines are still those that it was made of.

    Raises:
        RunError: If one is of another modality or was trained with other settings.
    """
    for (modality, settings), checkpoint in zip(members.items(), found, strict=True):
        expected = settings.model_copy(update={"fit": settings.fit.of_fold(fold)})
        if checkpoint.settings != expected:
            raise RunError(
                f"{run.root}: its baseline of {modality} was trained again with other settings since.",
                "Fuse again: the command that made the run, with another `--out DIR`.",
            )


def assemble(
    loaded: list[tuple[Classifier, Checkpoint]],
    fusion: nn.Module,
    columns: Sequence[ClinicalColumn] = (),
    settings: HeadSettings | None = None,
    sources: Mapping[str, Backbone] | None = None,
) -> TripletModel:
    """Build a fold's model from its networks and a fusion.

    Args:
        loaded: The networks.
        fusion: What fuses them.
        columns: Clinical columns that a trained head takes.
        settings: Of a trained head.
        sources: Networks before fine-tuning, by modality, where tokens come from them; None: from their weights.
    """
    fits = {checkpoint.settings.modality: checkpoint.settings.fit for _, checkpoint in loaded}
    members = {modality: model for modality, (model, _) in zip(fits, loaded, strict=True)}
    sides = {modality: fit.image_size for modality, fit in fits.items()}
    if settings is None:
        return TripletModel(members, fusion, sides)
    if settings.tokens == "pretrained" and sources is None:
        sources = {
            modality: create_backbone(fit.backbone, image_size=fit.image_size, weights=fit.weights)
            for modality, fit in fits.items()
        }
    return TripletModel(members, fusion, sides, grid=settings.grid, sources=sources, columns=columns)
