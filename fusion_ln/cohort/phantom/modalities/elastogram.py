"""Simulated strain elastography: hardness as a colour laid over the grey-scale picture, red soft to blue hard."""

import numpy as np

from fusion_ln.cohort.phantom.modalities.bmode import Patch, blend, smooth_noise, soft_step
from fusion_ln.cohort.phantom.modalities.colours import SOFT_TO_HARD, ramp
from fusion_ln.cohort.phantom.neck import Node

# Share of the node that is hard, per score (after Alam et al. 2008: hardly any, < 45 %, >= 45 %, nearly all).
HARD_SHARE = {1: (0.0, 0.06), 2: (0.24, 0.36), 3: (0.56, 0.70), 4: (0.92, 1.0)}
OPACITY = 0.6


def strain_colours(grey: np.ndarray, patch: Patch, node: Node, score: int, rng: np.random.Generator) -> np.ndarray:
    """Lay the hardness of a node and its surroundings over a grey-scale picture.

    Args:
        grey: Grey values in [0, 1]. Shape (H, W).
        score: Elastography score 1..4.

    Returns:
        RGB in [0, 255]. Shape (H, W, 3).
    """
    distance = node.distance(patch)
    inside = distance < 0
    pattern = smooth_noise(patch, rng, 5) + 0.15 * smooth_noise(patch, rng, 2)
    threshold = np.quantile(pattern[inside], 1 - rng.uniform(*HARD_SHARE[score]))
    hard = soft_step(threshold - pattern, 0.35)
    node_hardness = blend(0.54 + 0.05 * smooth_noise(patch, rng, 3), 0.95, hard)
    surroundings = 0.30 + 0.13 * smooth_noise(patch, rng, 6, 3)
    hardness = np.clip(blend(surroundings, node_hardness, soft_step(distance, 0.8)), 0, 1)
    shade = 255 * grey[:, :, None]
    return blend(shade, ramp(hardness, SOFT_TO_HARD) * (0.65 + 0.6 * grey[:, :, None]), OPACITY)
