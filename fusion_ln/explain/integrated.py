"""Integrated Gradients, for all pictures of a patient at once."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fusion_ln.explain.attribution import Attribution, Maps
from fusion_ln.explain.memory import within_memory
from fusion_ln.explain.network import Case, Explained, stacked

FIRST_STEPS, MOST_STEPS = 32, 1024  # of the integral
QUICK_STEPS = 16
LARGEST_ERROR = 0.01  # largest accepted completeness error of the integral


def integrated_gradients(
    explained: Explained, case: Case, *, first_steps: int = FIRST_STEPS, most_steps: int = MOST_STEPS
) -> Attribution:
    """Compute Integrated Gradients (Sundararajan et al. 2017, arXiv 1703.01365, eq. 1) from black pictures.

    The number of steps is doubled, from ``first_steps`` to ``most_steps``, until the maps sum to the change of the
    logit within 1 % (completeness).
    """
    ends = [picture * torch.tensor([0.0, 1.0]).view(-1, 1, 1, 1, 1) for picture in case.pictures]
    with torch.no_grad():
        black, whole = explained.versions(case, ends)[:, case.target].tolist()
    change = whole - black
    steps, error, maps = first_steps, math.inf, list[Tensor]()
    while error > LARGEST_ERROR and steps <= most_steps:
        [maps] = _integrate(explained, [case], steps)
        error = abs(sum(float(each.double().sum()) for each in maps) - change) / max(abs(change), 1e-6)
        steps *= 2
    return Attribution(maps, error)


def quick_integrated_gradients(explained: Explained, cases: Sequence[Case]) -> list[Maps]:
    """Compute Integrated Gradients of versions of a patient in few steps, whose error is left unknown."""
    return _integrate(explained, cases, QUICK_STEPS)


def _integrate(explained: Explained, cases: Sequence[Case], steps: int) -> list[Maps]:
    """Integrate the gradients from black to the pictures of each case by the Gauss-Legendre rule."""
    rule = (torch.from_numpy(each).float().view(-1, 1, 1, 1, 1) / 2 for each in np.polynomial.legendre.leggauss(steps))
    nodes, weights = (each.repeat(len(cases), 1, 1, 1, 1) for each in rule)  # one case after another
    numbers = torch.arange(len(cases)).repeat_interleave(steps)
    first, pictures = cases[0], stacked(cases)

    def integrate(at_once: int) -> list[Tensor]:
        sums = [torch.zeros_like(each) for each in pictures]
        parts = (torch.split(each, at_once) for each in (numbers, nodes + 0.5, weights))
        for number, share, weight in zip(*parts, strict=True):
            scaled = [(each[number] * share).requires_grad_() for each in pictures]
            with torch.enable_grad():
                logits = explained.versions(first, scaled)[:, first.target].sum()
            gradients = torch.autograd.grad(logits, scaled, allow_unused=True, materialize_grads=True)
            for total, each in zip(sums, gradients, strict=True):
                total.index_add_(0, number, each * weight)
        return [(total * each).sum(2) for total, each in zip(sums, pictures, strict=True)]

    return [list(maps) for maps in zip(*within_memory(integrate, first), strict=True)]
