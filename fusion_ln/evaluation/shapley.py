"""Exact Shapley values of the modalities of a patient, over all subsets of the modalities."""

from collections.abc import Iterator
from itertools import combinations
from math import factorial

import numpy as np

Coalition = tuple[int, ...]  # positions of modalities, ascending


def coalitions(n: int) -> Iterator[Coalition]:
    """Yield all subsets of ``n`` modalities, the empty one first."""
    for size in range(n + 1):
        yield from combinations(range(n), size)


def shapley_values(values: dict[Coalition, np.ndarray]) -> np.ndarray:
    """Compute Shapley values (Shapley 1953): the mean gain of adding a modality, over all orders.

    Args:
        values: Value of every subset of n modalities. Arrays of one shape (...).

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
    """Compute the Shapley interaction index (Grabisch & Roubens 1999, section 3) of every pair of modalities.

    It is the gain of both together minus the gains of each alone, in the mean over the subsets of the others: above
    zero the two are complementary, below zero redundant.

    Args:
        values: Value of every subset, see `shapley_values`.

    Returns:
        Arrays of shape (...) by pair, ascending.
    """
    n = max(map(len, values))
    indices = {}
    for a, b in combinations(range(n), 2):
        total = np.zeros(np.shape(values[()]))
        for others in coalitions(n):
            if a not in others and b not in others:
                weight = factorial(len(others)) * factorial(n - len(others) - 2) / factorial(n - 1)
                both, neither = values[_with(others, a, b)], values[others]
                total += weight * (both - values[_with(others, a)] - values[_with(others, b)] + neither)
        indices[a, b] = total
    return indices


def _with(others: Coalition, *players: int) -> Coalition:
    return tuple(sorted((*others, *players)))
