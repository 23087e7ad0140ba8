"""What each modality adds to a patient's prediction: exact Shapley values over all subsets of the modalities."""

from collections.abc import Iterator
from itertools import combinations
from math import factorial

import numpy as np
import torch

from fusion_ln.explain.network import Case, Explained

Coalition = tuple[int, ...]  # positions of modalities, ascending


def coalitions(n: int) -> Iterator[Coalition]:
    """All subsets of ``n`` modalities, the empty one first."""
    for size in range(n + 1):
        yield from combinations(range(n), size)


def coalition_values(explained: Explained, case: Case, prior: np.ndarray) -> dict[Coalition, np.ndarray]:
    """Probabilities (C,) of a patient from the pictures of every subset of the modalities.

    A modality that the patient lacks changes nothing. Of no picture at all, a model says nothing: there stands
    ``prior``, the share of each class among the patients that it learnt from.
    """
    n = case.present.shape[1]
    held = {chosen: tuple(m for m in chosen if m in case.modalities) for chosen in coalitions(n)}
    asked = [subset for subset in dict.fromkeys(held.values()) if subset]
    masks = torch.tensor([[m in subset for m in range(n)] for subset in asked])
    probs = explained.probs_of(case, case.present & masks[..., None]).numpy()
    values = {(): prior, **dict(zip(asked, probs, strict=True))}
    return {chosen: values[subset] for chosen, subset in held.items()}


def shapley_values(values: dict[Coalition, np.ndarray]) -> np.ndarray:
    """Shapley values (Shapley 1953): the mean over all orders of what a modality adds when it comes.

    Args:
        values: What every subset of n modalities attains. Arrays of one shape (...).

    Returns:
        Shape (n, ...); over the modalities they sum to the value of all minus that of none.
    """
    n = max(map(len, values))
    shares = np.zeros((n, *np.shape(values[()])))
    for player in range(n):
        for others in coalitions(n):
            if player not in others:
                weight = factorial(len(others)) * factorial(n - len(others) - 1) / factorial(n)
                shares[player] += weight * (values[_with(others, player)] - values[others])
    return shares


def interactions(values: dict[Coalition, np.ndarray]) -> dict[tuple[int, int], np.ndarray]:
    """Shapley interaction index (Grabisch & Roubens 1999, section 3) of every pair of modalities.

    The mean over the subsets of the others of what the two add together beyond what each adds alone: above zero they
    complete each other, below zero they say the same.

    Args:
        values: As for `shapley_values`.

    Returns:
        By pair, ascending. Arrays of shape (...).
    """
    n = max(map(len, values))
    found = {}
    for a, b in combinations(range(n), 2):
        total = np.zeros(np.shape(values[()]))
        for others in coalitions(n):
            if a not in others and b not in others:
                weight = factorial(len(others)) * factorial(n - len(others) - 2) / factorial(n - 1)
                both, neither = values[_with(others, a, b)], values[others]
                total += weight * (both - values[_with(others, a)] - values[_with(others, b)] + neither)
        found[a, b] = total
    return found


def _with(others: Coalition, *players: int) -> Coalition:
    return tuple(sorted((*others, *players)))
