"""Can a map be trusted? Whether it says what moves the model, stays put under noise, and follows what was learnt."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max
from scipy.stats import spearmanr
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from fusion_ln.explain.attribution import AT_ONCE, Attribution, Explain, within_memory
from fusion_ln.explain.network import Case, Explained

STEPS = 20  # of insertion and deletion
SQUARES = 32  # random squares of the infidelity
NOISE, DRAWS = 0.02, 3  # of the sensitivity: largest change of a pixel in [0, 1], and how often one is drawn
RANDOMIZED_SHARES = (0.1, 0.5, 1.0)  # shares of the weights that are shuffled, from the last layer down; the fusion too
SMALLEST = 1e-12


@dataclass(frozen=True)
class MapScores:
    """What the tests say of the maps of one patient by one method.

    Attributes:
        deletion: Probability of the class while the pixels go black, the most important first. Shape (STEPS + 1,).
        insertion: The same while they come back into blurred pictures.
        infidelity: Share of the change of the logit, when squares go black, that the map does not foresee: 0 to 1.
        sensitivity: Largest relative change of the map under noise that nobody sees.
        randomised: Rank correlation of the map with that of a model that forgot what it learnt, over a share of its
            weights, one per entry of `RANDOMIZED_SHARES`.
    """

    deletion: np.ndarray
    insertion: np.ndarray
    infidelity: float
    sensitivity: float
    randomised: np.ndarray


def score_maps(
    explained: Explained,
    case: Case,
    explain: Explain,
    attribution: Attribution,
    randomized: Sequence[Explained],
    seed: int,
) -> MapScores:
    """All tests of one map.

    Args:
        explained: The model.
        case: The patient.
        explain: The method, as it may be repeated; randomised models are compared with what it says itself.
        attribution: What it said.
        forgetful: The model with its weights shuffled, see `RANDOMIZED_SHARES`.
        seed: Of squares and noise: the same for every method.
    """
    own, *others = (explain(model, case).maps for model in (explained, *randomized))
    return MapScores(
        deletion=deletion_curve(explained, case, attribution.maps),
        insertion=insertion_curve(explained, case, attribution.maps),
        infidelity=infidelity(explained, case, attribution.maps, seed),
        sensitivity=sensitivity(explained, case, explain, seed),
        randomised=np.array([rank_correlation(case, own, other) for other in others]),
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
    """Deletion (Petsiuk et al. 2018, arXiv 1806.07421): the sooner the curve falls, the better the map."""
    black = [torch.zeros_like(p) for p in case.pictures]
    return _curve(explained, case, maps, start=case.pictures, end=black)


def insertion_curve(explained: Explained, case: Case, maps: Sequence[Tensor]) -> np.ndarray:
    """Insertion (Petsiuk et al. 2018): pixels come back into blurred pictures; the sooner it rises, the better."""
    blurred = [_blur(p) for p in case.pictures]
    return _curve(explained, case, maps, start=blurred, end=case.pictures)


def infidelity(explained: Explained, case: Case, maps: Sequence[Tensor], seed: int) -> float:
    """Infidelity (Yeh et al. 2019, arXiv 1901.09392) under squares that go black, the map scaled to fit best.

    As a share of the infidelity of a blank map: 0 where the map foresees every change of the logit, 1 where it
    foresees none.
    """

    def measure(attributions: Sequence[Tensor]) -> float:
        generator = torch.Generator().manual_seed(seed)

        def blacken(inputs: Tensor | tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
            pictures = (inputs,) if isinstance(inputs, Tensor) else inputs
            masks = tuple(_squares(p, generator) for p in pictures)
            return masks, tuple(p * (1 - mask) for p, mask in zip(pictures, masks, strict=True))

        found = captum_infidelity(
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
        return float(found)

    # A map counts for all channels of its pixel.
    full = [(m[None, :, None] / 3).expand_as(p) for m, p in zip(maps, case.pictures, strict=True)]
    blank = measure([torch.zeros_like(p) for p in case.pictures])
    return measure(full) / blank if blank > SMALLEST else float("nan")


def sensitivity(explained: Explained, case: Case, explain: Explain, seed: int) -> float:
    """Sensitivity-max (Yeh et al. 2019): largest change of the map under noise, over its own norm."""
    generator = torch.Generator().manual_seed(seed)

    def disturb(inputs: tuple[Tensor, ...] | Tensor) -> tuple[Tensor, ...]:
        pictures = (inputs,) if isinstance(inputs, Tensor) else inputs
        return tuple(p + NOISE * (2 * torch.rand(p.shape, generator=generator) - 1) for p in pictures)

    def again(inputs: tuple[Tensor, ...] | Tensor) -> tuple[Tensor, ...]:
        pictures = (inputs,) if isinstance(inputs, Tensor) else inputs
        rows = [explain(explained, case.seen([p[[b]] for p in pictures])).maps for b in range(len(pictures[0]))]
        return tuple(torch.stack(maps) for maps in zip(*rows, strict=True))

    return float(sensitivity_max(again, case.pictures, disturb, n_perturb_samples=DRAWS, max_examples_per_batch=DRAWS))


def rank_correlation(case: Case, maps: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Spearman's correlation of two maps of one patient, over the pixels of all pictures; 0 where one is constant."""
    a, b = (np.concatenate([_pixels(case, m, each) for m, each in enumerate(both)]) for both in (maps, others))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(spearmanr(a, b).statistic)


def random_maps(case: Case, seed: int) -> Attribution:
    """Maps that know nothing: what any method has to beat."""
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.rand(p[0, :, 0].shape, generator=generator) for p in case.pictures]
    return Attribution([draw * case.present[0, m, :, None, None] for m, draw in enumerate(draws)])


def _curve(
    explained: Explained, case: Case, maps: Sequence[Tensor], start: Sequence[Tensor], end: Sequence[Tensor]
) -> np.ndarray:
    """Probability of the class while the pixels of all pictures go from start to end, the highest of the map first.

    Pixels of one value go in an order drawn once, so that flat maps gain nothing from the order of rows.
    """
    values = torch.cat([torch.from_numpy(_pixels(case, m, each)) for m, each in enumerate(maps)])
    shuffled = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
    order = shuffled[values[shuffled].argsort(descending=True, stable=True)]
    rank = torch.empty(len(values), dtype=torch.long)
    rank[order] = torch.arange(len(values))
    shares = [round(float(share) * len(values)) for share in np.linspace(0, 1, STEPS + 1)]

    def probs(at_once: int) -> np.ndarray:
        parts = [shares[i : i + at_once] for i in range(0, len(shares), at_once)]
        return np.concatenate([_probs(explained, case, rank, part, start, end) for part in parts])

    return within_memory(probs)


def _probs(
    explained: Explained, case: Case, rank: Tensor, counts: list[int], start: Sequence[Tensor], end: Sequence[Tensor]
) -> np.ndarray:
    """Probability of the class for each number of pixels that went from start to end. Shape (len(counts),)."""
    changed = rank < torch.tensor(counts)[:, None]  # (versions, pixels)
    pictures, used = [], 0
    for m, (a, b) in enumerate(zip(start, end, strict=True)):
        there = case.present[0, m]
        n_views, side = int(there.sum()), a.shape[-1]
        n = n_views * side * side
        mask = changed[:, used : used + n].view(len(counts), n_views, 1, side, side)
        mixed = a.repeat(len(counts), 1, 1, 1, 1)
        mixed[:, there] = torch.where(mask, b[:, there], a[:, there])
        pictures.append(mixed)
        used += n
    probs: np.ndarray = explained.probs(case.seen(pictures))[:, case.target].numpy()
    return probs


def _pixels(case: Case, m: int, values: Tensor) -> np.ndarray:
    """Values of a map where there are pictures. (V, S, S) to (N,)."""
    pixels: np.ndarray = values[case.present[0, m]].flatten().numpy()
    return pixels


def _blur(pictures: Tensor) -> Tensor:
    """So far that no finding is left: a Gaussian of a sixteenth of the side. (1, V, 3, S, S)."""
    sigma = pictures.shape[-1] / 16
    kernel = 2 * round(2 * sigma) + 1
    blurred: Tensor = gaussian_blur(pictures[0], [kernel, kernel], [sigma, sigma])[None]
    return blurred


def _squares(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """One square of a random place and size in each picture, 1 inside. (B, V, 3, S, S)."""
    mask = torch.zeros_like(pictures)
    side = pictures.shape[-1]
    for row in mask.flatten(0, 1):
        size = int(torch.randint(side // 8, side // 2, (), generator=generator))
        top, left = torch.randint(0, side - size + 1, (2,), generator=generator).tolist()
        row[:, top : top + size, left : left + size] = 1
    return mask
