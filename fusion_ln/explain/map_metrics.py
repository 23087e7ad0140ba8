"""Metrics of attribution maps: deletion, insertion, infidelity, sensitivity and weight randomisation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max
from scipy.stats import spearmanr
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from fusion_ln.explain.attribution import Attribution
from fusion_ln.explain.memory import AT_ONCE, within_memory
from fusion_ln.explain.methods import AttributionFunction
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
        deletion: Probability of the class while pixels turn black, highest attribution first. Shape (STEPS + 1,).
        insertion: Probability of the class while pixels return to blurred pictures, in the same order.
        infidelity: Error in predicting the change of the logit when squares turn black, relative to a blank map.
        sensitivity: Largest relative change of the map under invisible noise.
        randomised: Rank correlation with the map of a model with shuffled weights, one per `RANDOMIZED_SHARES`.
    """

    deletion: np.ndarray
    insertion: np.ndarray
    infidelity: float
    sensitivity: float
    randomised: np.ndarray


SCORE_SHAPES: dict[str, tuple[int, ...]] = {
    "deletion": (CURVE_STEPS + 1,),
    "insertion": (CURVE_STEPS + 1,),
    "infidelity": (),
    "sensitivity": (),
    "randomised": (len(RANDOMIZED_SHARES),),
}


def score_maps(
    explained: Explained,
    case: Case,
    attribute: AttributionFunction,
    attribution: Attribution,
    randomized: Sequence[Explained],
    seed: int,
) -> MapScores:
    """Score the maps of one patient by one method.

    Args:
        explained: Model.
        case: Patient and class.
        attribute: Quick version of the method, which is repeated for noisy pictures and randomised models.
        attribution: Maps to score.
        randomized: Copies of the model with shuffled weights, one per `RANDOMIZED_SHARES`.
        seed: Seed of squares and noise, the same for every method.
    """
    maps, *others = (attribute(model, case).maps for model in (explained, *randomized))
    return MapScores(
        deletion=deletion_curve(explained, case, attribution.maps),
        insertion=insertion_curve(explained, case, attribution.maps),
        infidelity=infidelity(explained, case, attribution.maps, seed),
        sensitivity=sensitivity(explained, case, attribute, seed),
        randomised=np.array([rank_correlation(case, maps, other) for other in others]),
    )


def score_random_maps(explained: Explained, case: Case, attribution: Attribution, seed: int) -> MapScores:
    """Score random maps; sensitivity and randomisation are undefined (NaN)."""
    return MapScores(
        deletion=deletion_curve(explained, case, attribution.maps),
        insertion=insertion_curve(explained, case, attribution.maps),
        infidelity=infidelity(explained, case, attribution.maps, seed),
        sensitivity=float("nan"),
        randomised=np.full(len(RANDOMIZED_SHARES), np.nan),
    )


def deletion_curve(explained: Explained, case: Case, maps: Sequence[Tensor]) -> np.ndarray:
    """Compute the deletion curve (Petsiuk et al. 2018, arXiv 1806.07421); the faster its fall, the better the map."""
    black = [torch.zeros_like(p) for p in case.pictures]
    return _curve(explained, case, maps, start=case.pictures, end=black)


def insertion_curve(explained: Explained, case: Case, maps: Sequence[Tensor]) -> np.ndarray:
    """Compute the insertion curve (Petsiuk et al. 2018) from blurred pictures; the faster its rise, the better."""
    blurred = [_blur(p) for p in case.pictures]
    return _curve(explained, case, maps, start=blurred, end=case.pictures)


def infidelity(explained: Explained, case: Case, maps: Sequence[Tensor], seed: int) -> float:
    """Compute infidelity (Yeh et al. 2019, arXiv 1901.09392) under black squares, the map optimally scaled.

    Relative to the infidelity of a blank map: 0 if the map predicts every change of the logit, 1 if it predicts none.
    """

    def measure(attributions: Sequence[Tensor]) -> float:
        generator = torch.Generator().manual_seed(seed)

        def blacken(inputs: Tensor | tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
            pictures = (inputs,) if isinstance(inputs, Tensor) else inputs
            masks = tuple(_squares(p, generator) for p in pictures)
            return masks, tuple(p * (1 - mask) for p, mask in zip(pictures, masks, strict=True))

        value = captum_infidelity(
            explained,
            blacken,
            case.pictures,
            tuple(attributions),
            additional_forward_args=case.more,
            target=case.target,
            n_perturb_samples=SQUARES,
            max_examples_per_batch=AT_ONCE,
            normalize=True,
        )
        return float(value)

    # A map has one value per pixel, shared by its channels.
    full = [(m[None, :, None] / 3).expand_as(p) for m, p in zip(maps, case.pictures, strict=True)]
    blank = measure([torch.zeros_like(p) for p in case.pictures])
    return measure(full) / blank if blank > LEAST_CHANGE else float("nan")


def sensitivity(explained: Explained, case: Case, attribute: AttributionFunction, seed: int) -> float:
    """Compute sensitivity-max (Yeh et al. 2019): largest change of the map under noise, relative to its norm."""
    generator = torch.Generator().manual_seed(seed)

    def disturb(inputs: tuple[Tensor, ...] | Tensor) -> tuple[Tensor, ...]:
        pictures = (inputs,) if isinstance(inputs, Tensor) else inputs
        return tuple(p + NOISE * (2 * torch.rand(p.shape, generator=generator) - 1) for p in pictures)

    def repeat(inputs: tuple[Tensor, ...] | Tensor) -> tuple[Tensor, ...]:
        pictures = (inputs,) if isinstance(inputs, Tensor) else inputs
        rows = [
            attribute(explained, case.with_pictures([p[[b]] for p in pictures])).maps for b in range(len(pictures[0]))
        ]
        return tuple(torch.stack(maps) for maps in zip(*rows, strict=True))

    return float(
        sensitivity_max(
            repeat, case.pictures, disturb, n_perturb_samples=NOISE_DRAWS, max_examples_per_batch=NOISE_DRAWS
        )
    )


def rank_correlation(case: Case, maps: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Compute Spearman's correlation of two maps over the pixels of all pictures; 0 if one is constant."""
    a, b = (np.concatenate([_pixels(case, m, each) for m, each in enumerate(both)]) for both in (maps, others))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(spearmanr(a, b).statistic)


def random_maps(case: Case, seed: int) -> Attribution:
    """Draw random maps, the baseline for every method."""
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.rand(p[0, :, 0].shape, generator=generator) for p in case.pictures]
    return Attribution([draw * case.present[0, m, :, None, None] for m, draw in enumerate(draws)])


def _curve(
    explained: Explained, case: Case, maps: Sequence[Tensor], start: Sequence[Tensor], end: Sequence[Tensor]
) -> np.ndarray:
    """Compute the probability of the class while pixels change from ``start`` to ``end``, highest attribution first.

    Ties change in a random order, the same for every map, so that a flat map gains nothing from the order of rows.
    """
    values = torch.cat([torch.from_numpy(_pixels(case, m, each)) for m, each in enumerate(maps)])
    shuffled = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
    order = shuffled[values[shuffled].argsort(descending=True, stable=True)]
    rank = torch.empty(len(values), dtype=torch.long)
    rank[order] = torch.arange(len(values))
    shares = [round(float(share) * len(values)) for share in np.linspace(0, 1, CURVE_STEPS + 1)]

    def probs(at_once: int) -> np.ndarray:
        parts = [shares[i : i + at_once] for i in range(0, len(shares), at_once)]
        return np.concatenate([_probs(explained, case, rank, part, start, end) for part in parts])

    return within_memory(probs)


def _probs(
    explained: Explained, case: Case, rank: Tensor, counts: list[int], start: Sequence[Tensor], end: Sequence[Tensor]
) -> np.ndarray:
    """Compute the probability of the class for each number of changed pixels. Shape (len(counts),)."""
    changed = rank < torch.tensor(counts)[:, None]  # (versions, pixels)
    pictures, used = [], 0
    for m, (a, b) in enumerate(zip(start, end, strict=True)):
        present = case.present[0, m]
        n_views, side = int(present.sum()), a.shape[-1]
        n = n_views * side * side
        mask = changed[:, used : used + n].view(len(counts), n_views, 1, side, side)
        mixed = a.repeat(len(counts), 1, 1, 1, 1)
        mixed[:, present] = torch.where(mask, b[:, present], a[:, present])
        pictures.append(mixed)
        used += n
    probs: np.ndarray = explained.probs(case.with_pictures(pictures))[:, case.target].numpy()
    return probs


def _pixels(case: Case, m: int, values: Tensor) -> np.ndarray:
    """Select the values of a map at present pictures. (V, S, S) to (N,)."""
    pixels: np.ndarray = values[case.present[0, m]].flatten().numpy()
    return pixels


def _blur(pictures: Tensor) -> Tensor:
    """Blur until no finding is left, by a Gaussian of a sixteenth of the side. (1, V, 3, S, S)."""
    sigma = pictures.shape[-1] / 16
    kernel = 2 * round(2 * sigma) + 1
    blurred: Tensor = gaussian_blur(pictures[0], [kernel, kernel], [sigma, sigma])[None]
    return blurred


def _squares(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one square of random position and size per picture, 1 inside. (B, V, 3, S, S)."""
    mask = torch.zeros_like(pictures)
    side = pictures.shape[-1]
    for row in mask.flatten(0, 1):
        size = int(torch.randint(side // 8, side // 2, (), generator=generator))
        top, left = torch.randint(0, side - size + 1, (2,), generator=generator).tolist()
        row[:, top : top + size, left : left + size] = 1
    return mask
