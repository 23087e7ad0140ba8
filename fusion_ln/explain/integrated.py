"""Integrated Gradients, for all pictures of a patient at once."""

import math

import numpy as np
import torch
from torch import Tensor

from fusion_ln.explain.attribution import Attribution, Maps
from fusion_ln.explain.memory import within_memory
from fusion_ln.explain.network import Case, Explained

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
        maps = _integrate(explained, case, steps)
        error = abs(sum(float(each.double().sum()) for each in maps) - change) / max(abs(change), 1e-6)
        steps *= 2
    return Attribution(maps, error)


def quick_integrated_gradients(explained: Explained, case: Case) -> Attribution:
    """Compute Integrated Gradients in few steps, whose error is left unknown."""
    return Attribution(_integrate(explained, case, QUICK_STEPS))


def _integrate(explained: Explained, case: Case, steps: int) -> Maps:
    """Integrate the gradients from black to the pictures by the Gauss-Legendre rule."""
    nodes, weights = (torch.from_numpy(each).float() / 2 for each in np.polynomial.legendre.leggauss(steps))

    def integrate(at_once: int) -> Maps:
        sums = [torch.zeros_like(picture[0]) for picture in case.pictures]
        for share, weight in zip(torch.split(nodes + 0.5, at_once), torch.split(weights, at_once), strict=True):
            scaled = [(picture * share.view(-1, 1, 1, 1, 1)).requires_grad_() for picture in case.pictures]
            with torch.enable_grad():
                logits = explained.versions(case, scaled)[:, case.target].sum()
            gradients = torch.autograd.grad(logits, scaled, allow_unused=True, materialize_grads=True)
            sums = [total + torch.tensordot(weight, each, 1) for total, each in zip(sums, gradients, strict=True)]
        return [(total * picture[0]).sum(1) for total, picture in zip(sums, case.pictures, strict=True)]

    return within_memory(integrate, case)
