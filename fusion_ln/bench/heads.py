"""Speed of a trained head beside a bare loop over the same tokens."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from fusion_ln.bench.record import Figure, measure
from fusion_ln.cohort.default import open_phantom
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.compute.fabric import make_fabric
from fusion_ln.models.fusion.base import HeadEnsemble, TripletShape
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.terms import LABEL, PATIENT
from fusion_ln.training.fusion.heads import fit_head
from fusion_ln.training.fusion.tokens import PictureTokens, TokenBank, token_bank

N_TOKENS, N_FEATURES = 9, 512  # of a picture of resnet10t at 96 pixels


def head_figures(head: str, *, patients: int, epochs: int) -> Iterator[Figure]:
    """Time a head's fit on random tokens, and its forward and backward passes and steps alone."""
    cohort = open_phantom(PhantomSettings(patients=patients, image_size=48))
    settings = HeadSettings(head=head, epochs=epochs, patience=epochs, modality_dropout=0)
    bank = _random_bank(cohort.patients, len(cohort.modalities), 1 + settings.copies)
    fabric = make_fabric(DeviceSettings(device="cpu"), "32-true")
    n_steps = epochs * max(1, len(cohort.training_part(0)[0]) // settings.batch_size)

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            fit_head(cohort, bank, settings, 0, seed=0, fabric=fabric, folder=Path(folder))

    shape = TripletShape(len(cohort.modalities), N_FEATURES, len(cohort.classes))
    batch = bank.cut(np.arange(settings.batch_size))
    triplets, labels = batch.inputs(batch.modalities_present, torch.device("cpu"))[0], batch.labels

    def bare() -> None:
        model = HeadEnsemble(settings, shape).heads[0].train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr)
        for _ in range(n_steps):
            optimizer.zero_grad()
            F.cross_entropy(model(triplets), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    task = f"fit of the head {head}, {patients} patients, {epochs} epochs"
    yield measure("head", task, ours, f"bare loop of {n_steps} steps on one batch", bare)


def _random_bank(patients: pd.DataFrame, n_modalities: int, n_versions: int) -> TokenBank:
    rng, n = np.random.default_rng(0), len(patients)
    names = patients[PATIENT].to_numpy()
    pictures = [
        PictureTokens(
            rng.normal(size=(n, n_versions, N_TOKENS, N_FEATURES)).astype(np.float16),
            rng.normal(size=(n, n_versions, 3)).astype(np.float32),
            names,
        )
        for _ in range(n_modalities)
    ]
    labels = patients.set_index(PATIENT)[LABEL]
    return token_bank(pictures, labels, pd.DataFrame(index=labels.index))
