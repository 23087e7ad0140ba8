"""Metrics of attribution maps: deletion, insertion, infidelity, sensitivity and weight randomisation."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from fusion_ln.explain.attribution import Attribution, Maps
from fusion_ln.explain.memory import within_memory
from fusion_ln.explain.methods import AttributionMethod, QuickFunction
from fusion_ln.explain.network import Case, Explained

CURVE_STEPS = 20  # of insertion and deletion
SQUARES = 32  # random squares of the infidelity
NOISE, NOISE_DRAWS = 0.02, 3  # of the sensitivity: largest change of a pixel in [0, 1], and number of draws
RANDOMIZED_SHARES = (0.1, 0.5, 1.0)  # of the weight tensors, shuffled from the last layer down; see `shuffled`
LEAST_CHANGE = 1e-12


@dataclass(frozen=True)
class MapScores:
    """Scores of the maps of one patient by one method.

    Attributes:
        infidelity: Error in predicting the change of the logit when squares turn black, relative to a blank map.
        sensitivity: Largest relative change of the map under invisible noise.
        randomised: Rank correlation with the map of a model with shuffled weights, one per `RANDOMIZED_SHARES`.
    """

    infidelity: float
    sensitivity: float
    randomised: np.ndarray


@dataclass(frozen=True)
class MapCurves:
    """Curves of the maps of one patient by one method (Petsiuk et al. 2018, arXiv 1806.07421).

    Attributes:
        deletion: Probability of the class while pixels turn black, highest attribution first; the faster its fall, the
            better. Shape (STEPS + 1,).
        insertion: Probability of the class while pixels return to blurred pictures, in the same order; the faster its
            rise, the better.
    """

    deletion: np.ndarray
    insertion: np.ndarray


SCORE_SHAPES: dict[str, tuple[int, ...]] = {
    "deletion": (CURVE_STEPS + 1,),
    "insertion": (CURVE_STEPS + 1,),
    "infidelity": (),
    "sensitivity": (),
    "randomised": (len(RANDOMIZED_SHARES),),
}


class MapTests:
    """Tests of a patient's maps; what the maps of all methods share, such as the squares' effects, is computed once.

    Attributes:
        explained: Model.
        case: Patient and class.
        seed: Seed of squares and noise.
    """

    def __init__(self, explained: Explained, case: Case, seed: int) -> None:
        self.explained, self.case, self.seed = explained, case, seed

    def score(
        self, method: AttributionMethod, attribution: Attribution, quick: Maps, randomised: Sequence[Maps]
    ) -> MapScores:
        """Score the maps of a method.

        Args:
            method: Its quick version is repeated for noisy pictures.
            attribution: Maps to score.
            quick: Maps of the quick version.
            randomised: Those of copies of the model with shuffled weights, one per `RANDOMIZED_SHARES`.
        """
        return MapScores(
            infidelity=self.infidelity(attribution.maps),
            sensitivity=self.sensitivity(method.quick, quick),
            randomised=np.array([rank_correlation(self.case, quick, other) for other in randomised]),
        )

    def score_random(self, attribution: Attribution) -> MapScores:
        """Score random maps; sensitivity and randomisation are undefined (NaN)."""
        return MapScores(
            infidelity=self.infidelity(attribution.maps),
            sensitivity=float("nan"),
            randomised=np.full(len(RANDOMIZED_SHARES), np.nan),
        )

    def curves(self, several: Sequence[Maps]) -> list[MapCurves]:
        """Compute the curves of maps, those of all maps in the same passes."""
        whole, black, blurred = self._ends
        ranks = [self._rank(maps) for maps in several]
        counts = [round(float(share) * len(ranks[0])) for share in np.linspace(0, 1, CURVE_STEPS + 1)][1:-1]
        roads = [(rank, *ends) for rank in ranks for ends in ((whole, black), (blurred, whole))]
        steps = [_Step(*road, count) for road in roads for count in counts]

        def probs(at_once: int) -> np.ndarray:
            parts = (steps[i : i + at_once] for i in range(0, len(steps), at_once))
            return np.concatenate([self._probs(_mix(self.case, part)) for part in parts])

        between = within_memory(probs, self.case).reshape(len(roads), -1)
        curves = [np.array([start.prob, *each, end.prob]) for (_, start, end), each in zip(roads, between, strict=True)]
        return [MapCurves(*pair) for pair in zip(curves[::2], curves[1::2], strict=True)]

    def infidelity(self, maps: Sequence[Tensor]) -> float:
        """Compute infidelity (Yeh et al. 2019, arXiv 1901.09392) under black squares, the map optimally scaled.

        Relative to the infidelity of a blank map: 0 if the map predicts every change of the logit, 1 if it predicts
        none.
        """
        masks, effects = self._squares
        expected = sum(torch.tensordot(mask, m, 3).double().numpy() for mask, m in zip(masks, maps, strict=True))
        blank, whole = float((effects**2).sum()), float(np.sum(expected**2))
        if blank / SQUARES <= LEAST_CHANGE:
            return float("nan")
        return 1 - (float((expected * effects).sum()) ** 2 / (whole * blank) if whole else 0.0)

    def sensitivity(self, attribute: QuickFunction, maps: Sequence[Tensor]) -> float:
        """Compute sensitivity-max (Yeh et al. 2019): largest change of ``maps`` under noise, relative to their norm."""
        norm = _norm(maps) or 1.0
        noisy = attribute(self.explained, self._noisy)
        return max(_norm([a - b for a, b in zip(maps, each, strict=True)]) / norm for each in noisy)

    @cached_property
    def _ends(self) -> list["_End"]:
        """The pictures as they are, black ones, and blurred ones."""
        pictures = self.case.pictures
        ends = [list(pictures), [torch.zeros_like(p) for p in pictures], [_blur(p) for p in pictures]]
        probs = self._probs([torch.cat(versions) for versions in zip(*ends, strict=True)])
        return [_End(each, prob) for each, prob in zip(ends, probs.tolist(), strict=True)]

    @cached_property
    def _squares(self) -> tuple[list[Tensor], np.ndarray]:
        """Draw squares (N, V, S, S) per modality, and compute by how much the logit falls if they turn black. (N,)."""
        generator = torch.Generator().manual_seed(self.seed)
        shapes = [(SQUARES, *p.shape[1:2], *p.shape[3:]) for p in self.case.pictures]
        masks = [_squares(shape, generator) for shape in shapes]

        def logits(at_once: int) -> Tensor:
            parts = zip(*(torch.split(mask, at_once) for mask in masks), strict=True)
            pictures = self.case.pictures
            versions = ([p * (1 - mask[:, :, None]) for p, mask in zip(pictures, part, strict=True)] for part in parts)
            return torch.cat([self.explained.versions(self.case, each)[:, self.case.target] for each in versions])

        with torch.no_grad():
            whole = self.explained.versions(self.case, self.case.pictures)[0, self.case.target]
            effects: np.ndarray = (whole - within_memory(logits, self.case)).double().numpy()
        return masks, effects

    @cached_property
    def _noisy(self) -> list[Case]:
        """Draw the patient's pictures with noise that nobody sees."""
        generator = torch.Generator().manual_seed(self.seed)
        drawn = []
        for picture in self.case.pictures:
            noise = torch.rand((NOISE_DRAWS, *picture.shape[1:]), generator=generator)
            drawn.append(picture + NOISE * (2 * noise - 1))
        return [self.case.with_pictures([p[[draw]] for p in drawn]) for draw in range(NOISE_DRAWS)]

    def _probs(self, pictures: Sequence[Tensor]) -> np.ndarray:
        """Compute the probability of the class for B versions of the pictures. (B,)."""
        found: np.ndarray = self.explained.probs(self.case.with_pictures(pictures))[:, self.case.target].numpy()
        return found

    def _rank(self, maps: Maps) -> Tensor:
        """Rank the pixels of all pictures, the highest evidence first. (N,).

        Ties rank in a random order, the same for every map, so that a flat map gains nothing from the order of rows.
        """
        values = torch.cat([torch.from_numpy(_pixels(self.case, m, each)) for m, each in enumerate(maps)])
        shuffled = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
        order = shuffled[values[shuffled].argsort(descending=True, stable=True)]
        rank = torch.empty(len(values), dtype=torch.long)
        rank[order] = torch.arange(len(values))
        return rank


@dataclass(frozen=True)
class _End:
    """Pictures at an end of a curve, and their probability of the class."""

    pictures: Sequence[Tensor]
    prob: float


@dataclass(frozen=True)
class _Step:
    """Point of a curve: the ``count`` pixels that rank first have changed from ``start`` to ``end``."""

    rank: Tensor
    start: _End
    end: _End
    count: int


def rank_correlation(case: Case, maps: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Compute Spearman's correlation of two maps over the pixels of all pictures; 0 if one is constant."""
    a, b = (np.concatenate([_pixels(case, m, each) for m, each in enumerate(both)]) for both in (maps, others))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(pd.DataFrame({"map": a, "other": b}).corr("spearman", min_periods=len(a)).to_numpy()[0, 1])


def random_maps(case: Case, seed: int) -> Attribution:
    """Draw random maps, the baseline for every method."""
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.rand(p[0, :, 0].shape, generator=generator) for p in case.pictures]
    return Attribution([draw * case.present[0, m, :, None, None] for m, draw in enumerate(draws)])


def _mix(case: Case, steps: Sequence[_Step]) -> list[Tensor]:
    """Make one version of the pictures for each step of a curve. Each of shape (len(steps), V, 3, S, S)."""
    mixed = [picture.repeat(len(steps), 1, 1, 1, 1) for picture in case.pictures]
    for version, step in enumerate(steps):
        changed, used = step.rank < step.count, 0
        for m, pictures in enumerate(mixed):
            present, side = case.present[0, m], pictures.shape[-1]
            n = int(present.sum()) * side**2
            mask = changed[used : used + n].view(-1, 1, side, side)
            a, b = step.start.pictures[m][0], step.end.pictures[m][0]
            pictures[version, present] = torch.where(mask, b[present], a[present])
            used += n
    return mixed


def _pixels(case: Case, m: int, values: Tensor) -> np.ndarray:
    """Select the values of a map at present pictures. (V, S, S) to (N,)."""
    pixels: np.ndarray = values[case.present[0, m]].flatten().numpy()
    return pixels


def _blur(pictures: Tensor) -> Tensor:
    """Blur until no finding is left, by a Gaussian of a sixteenth of the side. (1, V, 3, S, S)."""
    sigma = pictures.shape[-1] / 16
    return torch.from_numpy(gaussian_filter(pictures, sigma, mode="mirror", radius=round(2 * sigma), axes=(-2, -1)))


def _squares(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw one square of random position and size per picture, 1 inside. (B, V, S, S)."""
    mask = torch.zeros(shape)
    side = shape[-1]
    for row in mask.flatten(0, 1):
        size = int(torch.randint(side // 8, side // 2, (), generator=generator))
        top, left = torch.randint(0, side - size + 1, (2,), generator=generator).tolist()
        row[top : top + size, left : left + size] = 1
    return mask


def _norm(maps: Sequence[Tensor]) -> float:
    return float(torch.cat([each.flatten() for each in maps]).norm())
