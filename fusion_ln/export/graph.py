"""A frozen model as one module of ordinary operators, from pictures of any size to calibrated probabilities.

Where a model skips absent pictures, this one looks at a black picture in their place and drops what comes of it, by
`torch.where`: a factor of zero would let one NaN through.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fusion_ln.evaluation.probabilities.cv_plus import FoldScores
from fusion_ln.evaluation.probabilities.maps import PROB_FLOOR
from fusion_ln.export.gradcam import GradCam
from fusion_ln.export.letterbox import letterbox
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.frozen.record import ALL_PATIENTS
from fusion_ln.frozen.unlike import FeatureMoments
from fusion_ln.models.fusion.base import HeadEnsemble
from fusion_ln.models.triplet import TripletModel, module_key

Encoded = tuple[Tensor, Tensor, Tensor]  # tokens, logits, features
OUTPUTS = ("probabilities", "p_values", "raw", "alone", "unlike")


class AnswerGraph(nn.Module):
    """A frozen model: one picture of each modality, any subset of them present.

    Outputs of `forward`, float32, for B patients, M modalities and C classes:

    - ``probabilities``: calibrated, (B, C); for a patient without any picture the classes' shares in the study;
    - ``p_values``: fit of each class, see `FoldScores.p_values`, (B, C);
    - ``raw``: mean of the models' probabilities, (B, C);
    - ``alone``: mean of the probabilities by the network of each modality by itself, (B, M, C), as `Answers.alone`;
    - ``unlike``: distance of each picture to what the models learnt from, (B, M), 0 where absent;
    - with ``explanations``, for each modality: Grad-CAM for the likeliest class, (B, h, w), mean over the models.
    """

    def __init__(self, model: FrozenModel, *, explanations: bool = False) -> None:
        super().__init__()
        self.sides = dict(model.record.modalities)
        self.models = nn.ModuleList(model.models)
        self.fine_tuned = model.record.fine_tuned
        moments = model.known.moments if model.known else []
        self.distances = nn.ModuleList(
            nn.ModuleList(Distance(of[modality]) for modality in self.sides) for of in moments
        )
        self.calibration = Calibration(model)
        self.fit = Fit(model)
        n_classes = len(model.record.classes)
        self.maps = nn.ModuleList(GradCam(each, encode, n_classes) for each in model.models if explanations)

    def forward(self, pictures: Sequence[Tensor], present: Tensor) -> tuple[Tensor, ...]:
        """Answer for pictures of any size.

        Args:
            pictures: Of each modality. uint8, shape (B, H, W, 3), with a size of its own.
            present: Presence mask. bool, shape (B, M).
        """
        squares = [
            letterbox(each, side).float() / 255 for each, side in zip(pictures, self.sides.values(), strict=True)
        ]
        return self.answer(squares, present)

    def answer(self, squares: Sequence[Tensor], present: Tensor) -> tuple[Tensor, ...]:
        """Answer for prepared pictures in [0, 1], each of shape (B, 3, S, S)."""
        masks = present.unbind(1)
        seen = [torch.where(_as(mask, each), each, 0) for mask, each in zip(masks, squares, strict=True)]
        encoded, planes = [], []
        for number, model in enumerate(self.models):
            assert isinstance(model, TripletModel)
            parts = zip(self.sides, seen, masks, strict=True)
            with self._recording(number) as kept:
                encoded.append([encode(model, modality, each, mask) for modality, each, mask in parts])
            planes.append(kept)
        answered = self.join(encoded, present)[: len(OUTPUTS)]
        return (*answered, *self._explain(answered[0], planes, present))

    def join(self, encoded: Sequence[Sequence[Encoded]], present: Tensor) -> tuple[Tensor, ...]:
        """Join what each model makes of each modality's pictures to the answer, and the models' logits (B, K, C)."""
        folds, alone, distances = [], [], []
        some = present.any(1, keepdim=True)
        for number, (model, parts) in enumerate(zip(self.models, encoded, strict=True)):
            assert isinstance(model, TripletModel)
            fused = model.fuse([(tokens, logits) for tokens, logits, _ in parts], present[..., None])
            folds.append(torch.where(some, fused, 0))
            alone.append(torch.stack([logits[:, 0] for _, logits, _ in parts], 1).double().softmax(2))
            if len(self.distances):
                known: Any = self.distances[number]
                distances.append(torch.stack([of(part[2]) for of, part in zip(known, parts, strict=True)], 1))
        probs = torch.stack(folds).double().softmax(2)  # (K, B, C)
        raw = probs.mean(0)
        single = torch.stack(alone).mean(0)
        unknown = torch.full_like(single, torch.nan)
        single = unknown if self.fine_tuned else torch.where(present[..., None], single, unknown)
        farthest = torch.stack(distances).amax(0) if distances else torch.full_like(single[..., 0], torch.nan)
        farthest = torch.where(present, farthest, 0)
        found = (self.calibration(raw, present), self.fit(probs, present), raw, single, farthest)
        return tuple(each.float() for each in (*found, torch.stack(folds, 1)))

    def _recording(self, number: int) -> AbstractContextManager[list[Tensor]]:
        """Keep the planes of a model's last stages where they are to be explained."""
        if not len(self.maps):
            return nullcontext([])
        cam = self.maps[number]
        assert isinstance(cam, GradCam)
        return cam.recording()

    def _explain(self, probs: Tensor, planes: Sequence[Sequence[Tensor]], present: Tensor) -> list[Tensor]:
        """Compute the mean map of each modality for the likeliest class."""
        if not len(self.maps):
            return []
        target = (torch.arange(probs.shape[1]) == probs.argmax(1, keepdim=True)).float()
        found = [cam(each, present, target) for cam, each in zip(self.maps, planes, strict=True)]
        means = [torch.stack(of).mean(0) for of in zip(*found, strict=True)]
        return [torch.where(_as(present[:, m], each), each, 0) for m, each in enumerate(means)]


class Calibration(nn.Module):
    """The calibration map of each subset of the modalities."""

    slopes: Tensor
    offsets: Tensor

    def __init__(self, model: FrozenModel) -> None:
        super().__init__()
        shares = np.log(np.maximum(model.record.pooled.shares, PROB_FLOOR))
        maps = [model.record.calibration_of(name) for name in subset_names(model.modalities)[1:]]
        slopes = np.array([0.0, *(each.slope for each in maps)])
        offsets = np.stack([shares, *(each.offsets for each in maps)])
        self.register_buffer("slopes", torch.from_numpy(slopes))
        self.register_buffer("offsets", torch.from_numpy(offsets))

    def forward(self, raw: Tensor, present: Tensor) -> Tensor:
        """Calibrate probabilities (B, C)."""
        subset = subset_numbers(present)
        logs = raw.clamp(min=PROB_FLOOR).log()
        ratios = logs - logs.mean(1, keepdim=True)
        return (self.slopes[subset][:, None] * ratios + self.offsets[subset]).softmax(1)


class Fit(nn.Module):
    """The p-values of `FoldScores`, of each subset of the modalities."""

    scores: Tensor
    patients: Tensor
    table: Tensor

    def __init__(self, model: FrozenModel) -> None:
        super().__init__()
        names = list(dict.fromkeys([ALL_PATIENTS, *model.scores]))
        n_models, n_classes = len(model.models), len(model.record.classes)
        own = [_by_fold(model.scores[name], n_models, n_classes) for name in names]
        longest = max(len(each) for of in own for fold in of for each in fold)
        scores = np.full((len(names), n_models, n_classes, longest), -np.inf)
        for i, of in enumerate(own):
            for k, fold in enumerate(of):
                for c, each in enumerate(fold):
                    scores[i, k, c, : len(each)] = each
        counts = [np.bincount(model.scores[name].labels, minlength=n_classes) for name in names]
        places = [
            names.index(name if name in model.scores else ALL_PATIENTS) for name in subset_names(model.modalities)
        ]
        self.register_buffer("scores", torch.from_numpy(scores))
        self.register_buffer("patients", torch.tensor(np.stack(counts), dtype=torch.float64))
        self.register_buffer("table", torch.tensor(places))

    def forward(self, folds: Tensor, present: Tensor) -> Tensor:
        """Compute the p-values (B, C) of the models' probabilities (K, B, C)."""
        place = self.table[subset_numbers(present)]
        new = 1 - folds.transpose(0, 1)[..., None]  # (B, K, C, 1)
        counts = (self.scores[place] >= new).double().sum((1, 3))
        return (counts + 1) / (self.patients[place] + 1)


class Distance(nn.Module):
    """The distance of `FeatureMoments`."""

    centres: Tensor
    directions: Tensor
    variances: Tensor
    rest: Tensor

    def __init__(self, moments: FeatureMoments) -> None:
        super().__init__()
        for name in FeatureMoments.__dataclass_fields__:
            value = np.array(getattr(moments, name))
            # Transposed here: onnxruntime 1.23 fuses a transposition with the product, and then cannot compute it.
            self.register_buffer(
                name, torch.from_numpy(value.T if name == "directions" else value).double().contiguous()
            )

    def forward(self, features: Tensor) -> Tensor:
        """Compute the distance of features (B, D) to the nearest class. Shape (B,)."""
        away = features.double()[:, None] - self.centres  # (B, C, D)
        along = (away @ self.directions).square()
        squares = (along / self.variances).sum(2)
        if self.directions.shape[1] < self.centres.shape[1]:
            squares = squares + (away.square().sum(2) - along.sum(2)).clamp(min=0) / self.rest
        return (squares.amin(1) / self.centres.shape[1]).sqrt()


def subset_names(modalities: Sequence[str]) -> list[str]:
    """Name every subset of the modalities, as in ``2d+elastic``, in the order of `subset_numbers`."""
    n = len(modalities)
    return ["+".join(m for i, m in enumerate(modalities) if number >> i & 1) for number in range(2**n)]


def subset_numbers(present: Tensor) -> Tensor:
    """Compute the number of the subset of the modalities that each patient has, 0 for none. int64, shape (B,)."""
    return (present.long() * torch.tensor([2**m for m in range(present.shape[1])])).sum(1)


def _by_fold(scores: FoldScores, n_folds: int, n_classes: int) -> list[list[np.ndarray]]:
    """Split scores by fold and class."""
    return [
        [scores.scores[(scores.folds == fold) & (scores.labels == c)] for c in range(n_classes)]
        for fold in range(n_folds)
    ]


def encode(model: TripletModel, modality: str, squares: Tensor, mask: Tensor) -> Encoded:
    """Compute tokens (B, 1, T, D) and logits (B, 1, C) of pictures, zero where absent, and the features (B, D)."""
    return _masked(look(model, modality, squares), mask)


def look(model: TripletModel, modality: str, squares: Tensor) -> Encoded:
    """Compute tokens (N, T, D'), logits (N, C) and features (N, D) of pictures in [0, 1], as `TripletModel.read`."""
    member: Any = model.members[module_key(modality)]
    maps = member.backbone.feature_map(squares)
    if len(model.sources):
        source: Any = model.sources[module_key(modality)]
        return _look_at(model, modality, maps, source.planes(source.feature_map(squares)))
    return _look_at(model, modality, maps)


def read_maps(model: TripletModel, modality: str, maps: Tensor, mask: Tensor) -> Encoded:
    """Compute the same as `encode` from the maps of the modality's network."""
    return _masked(_look_at(model, modality, maps), mask)


def _look_at(model: TripletModel, modality: str, maps: Tensor, planes: Tensor | None = None) -> Encoded:
    """Compute the same as `look` from maps; tokens come from them, or from other ``planes``."""
    member: Any = model.members[module_key(modality)]
    features = member.backbone.pool(maps)
    tokens = maps.new_zeros(maps.shape[0], 0, 0)
    if isinstance(model.fusion, HeadEnsemble):
        tokens = _tokens(member.backbone.planes(maps) if planes is None else planes, model.grid)
    return tokens, member.head(features), features


def _masked(encoded: Encoded, mask: Tensor) -> Encoded:
    """Set what comes of absent pictures to zero, tokens and logits with an axis of one view."""
    tokens, logits, features = encoded
    return tuple(torch.where(_as(mask, each), each, 0) for each in (tokens[:, None], logits[:, None], features))  # type: ignore[return-value]


def _tokens(planes: Tensor, grid: int) -> Tensor:
    """Average planes over cells as `Backbone.tokens` does, whose operator ONNX has for cells of one size only."""
    rows, columns = (_cells(int(n), min(grid, int(n))) for n in planes.shape[2:])
    return (rows @ planes @ columns.T).flatten(2).transpose(1, 2)


def _cells(n: int, cells: int) -> Tensor:
    """Weigh the ``n`` positions of an axis in the mean of each cell. Shape (cells, n)."""
    weights = np.zeros((cells, n), dtype=np.float32)
    for cell in range(cells):
        start, end = cell * n // cells, -(-(cell + 1) * n // cells)
        weights[cell, start:end] = 1 / (end - start)
    return torch.from_numpy(weights)


def _as(mask: Tensor, values: Tensor) -> Tensor:
    """Give a mask (B,) as many axes as the values have."""
    return mask.view(-1, *[1] * (values.ndim - 1))
