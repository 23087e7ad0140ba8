"""Speed of the tokens that trained heads read."""

from collections.abc import Iterator

import numpy as np
import torch

from fusion_ln.bench.matrices import against_matrices, count_operations
from fusion_ln.bench.record import Figure, seconds
from fusion_ln.images.bank import ImageBank
from fusion_ln.models.classifier import build_classifier
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import BaselineSettings, FitSettings
from fusion_ln.training.fusion.tokens import compute_tokens

N_CLASSES = 3


def token_figures(settings: FitSettings, *, n_pictures: int) -> Iterator[Figure]:
    """Time the tokens of pictures of noise, as they are and in augmented copies, by an untrained network."""
    side = settings.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (n_pictures, 3, side, side), dtype=np.uint8)
    bank = ImageBank(pixels, np.arange(n_pictures).astype(str), np.arange(n_pictures) % N_CLASSES)
    model, head = build_classifier(settings, N_CLASSES).eval(), HeadSettings()
    baseline = BaselineSettings(modality="2d", fit=settings)

    def compute() -> None:
        compute_tokens(model, baseline, bank, head, device=torch.device("cpu"))

    with torch.inference_mode():
        one = count_operations(lambda: model(torch.rand(1, 3, side, side)))
    versions = 1 + head.copies
    task = f"tokens of a picture and its {head.copies} copies ({settings.backbone}, {side} px)"
    compute()  # warms up
    yield against_matrices("tokens", task, seconds(compute) / n_pictures, one * versions)
