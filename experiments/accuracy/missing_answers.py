"""Answers for `missing.py`: a fold's models, under every head, asked about fresh patients from every subset."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.compute.fabric import make_fabric
from fusion_ln.compute.threads import fixed_threads
from fusion_ln.heads import LATE_HEADS
from fusion_ln.images.bank import open_bank
from fusion_ln.models.checkpoint import load_member
from fusion_ln.models.fusion.base import Triplets, mean_over_views
from fusion_ln.models.late.base import load_late_head
from fusion_ln.models.triplet import LateFusion
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.terms import LABEL, PATIENT, subsets
from fusion_ln.training.fusion.heads import fit_head, fold_tokens
from fusion_ln.training.fusion.tokens import PictureTokens, TokenBank, TokenBatch, compute_tokens, token_bank

HIGHEST = 0.4  # modality dropout; a picture is missing at 0.37 where 75 % of the triplets are broken at random
RISING = "rising"  # modality dropout from 0 to `HIGHEST` over the first half of the training
TRAINED = {
    f"{head} {label}": HeadSettings(head=head, **changes)
    for head in ("concat", "cross-attention")
    for label, changes in {
        "0.2": {},
        "0": {"modality_dropout": 0.0},
        "0.4": {"modality_dropout": HIGHEST},
        RISING: {"modality_dropout": 0.0},
        "0.2, auxiliary": {"auxiliary": 0.5},
    }.items()
}
STEP = 80  # of 255


def _blacken(pixels: np.ndarray) -> np.ndarray:
    pixels[..., pixels.shape[-2] // 2 :, :] = 0
    return pixels


def _brighten(pixels: np.ndarray) -> np.ndarray:
    return (pixels.astype(int) + STEP).clip(0, 255).astype(np.uint8)


def _darken(pixels: np.ndarray) -> np.ndarray:
    return (pixels.astype(int) - STEP).clip(0, 255).astype(np.uint8)


DAMAGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # of pixels, uint8 (N, 3, S, S)
    "lower half black": _blacken,
    f"{STEP} of 255 brighter": _brighten,
    f"{STEP} of 255 darker": _darken,
}
CPU = DeviceSettings(device="cpu", workers=1)


@dataclass
class Rising:
    """Modality dropout that rises epoch by epoch."""

    highest: float
    over: int
    epoch: int = 0

    @property
    def rate(self) -> float:
        return self.highest * min(1.0, self.epoch / self.over)


@dataclass(frozen=True)
class RisingBank(TokenBank):
    """Tokens of which training sees fewer and fewer modalities; one of each patient stays."""

    rising: Rising = field(default_factory=lambda: Rising(0.0, 1))

    def cut(self, positions: np.ndarray, rng: np.random.Generator | None = None) -> TokenBatch:
        """Gather the patients at some positions; with ``rng`` modalities are hidden at the rate of the epoch."""
        batch = super().cut(positions, rng)
        if rng is None:
            return batch
        present = batch.modalities_present
        kept = present & torch.from_numpy(rng.random(present.shape) >= self.rising.rate)
        kept = torch.where(kept.any(1, keepdim=True), kept, present)
        return TokenBatch(batch.triplets.of(kept), batch.labels, batch.patients)


def ask_fold(
    cohort: Cohort, members: list[RunFolder], fresh: Cohort, heads: list[str], number: int, seed: int
) -> dict[str, np.ndarray]:
    """Train heads on one fold of a cohort's baselines and ask them about all subsets of complete fresh patients.

    Returns:
        Logits by head, patients as in ``fresh.patients``. Shape (S subsets, P, C).
    """
    shown = [torch.from_numpy(np.isin(fresh.modalities, subset)) for subset in subsets(fresh.modalities).values()]
    with fixed_threads(cohort.n_folds):
        new = gather_fresh([tokens_of_fresh(member, fresh, number) for member in members], fresh)
    taught = _heads(cohort, members, heads, number, seed)
    return {name: _ask(head, [new.of(each) for each in shown]) for name, head in taught.items()}


def ask_fold_damaged(
    cohort: Cohort, members: list[RunFolder], fresh: Cohort, heads: list[str], number: int, seed: int
) -> dict[str, np.ndarray]:
    """Ask the same heads about triplets of which one picture is damaged: every modality's in each of `DAMAGES`.

    Returns:
        Logits by head, modality by modality. Shape (M * D, P, C).
    """
    with fixed_threads(cohort.n_folds):
        intact, triplets = [tokens_of_fresh(member, fresh, number) for member in members], []
        for place, damage in product(range(len(members)), DAMAGES.values()):
            damaged = tokens_of_fresh(members[place], fresh, number, damage)
            triplets.append(gather_fresh([*intact[:place], damaged, *intact[place + 1 :]], fresh))
    return {name: _ask(head, triplets) for name, head in _heads(cohort, members, heads, number, seed).items()}


def _heads(
    cohort: Cohort, members: list[RunFolder], names: list[str], number: int, seed: int
) -> dict[str, torch.nn.Module]:
    """Train the heads of one fold."""
    device = torch.device("cpu")
    heads: dict[str, torch.nn.Module] = {}
    bank = fold_tokens(cohort, members, HeadSettings(), number, (), device)
    inner = bank.cut(bank.of(cohort.training_part(number)[1]))
    for name in names:
        if name in LATE_HEADS:
            learn = load_late_head(name).learn
            taught = learn(mean_over_views(inner.triplets.to(device)), inner.labels.numpy()) if learn else None
            heads[name] = LateFusion(name, taught).eval()
        else:
            heads[name] = _fit(cohort, bank, name, number, seed).eval()
    return heads


def _fit(cohort: Cohort, bank: TokenBank, name: str, number: int, seed: int) -> torch.nn.Module:
    settings, fabric = TRAINED[name], make_fabric(CPU, "32-true")
    rising = Rising(HIGHEST * name.endswith(RISING), settings.epochs // 2)
    hidden = RisingBank(bank.pictures, bank.rows, bank.patients, bank.labels, bank.clinical, rising)

    def rise(epoch: object) -> None:
        rising.epoch += 1

    with TemporaryDirectory() as folder, fixed_threads(cohort.n_folds):
        fitted = fit_head(
            cohort, hidden, settings, number, seed=seed, fabric=fabric, folder=Path(folder), on_epoch=rise
        )
    return fitted.task.model


def tokens_of_fresh(
    member: RunFolder, fresh: Cohort, number: int, damage: Callable[[np.ndarray], np.ndarray] | None = None
) -> PictureTokens:
    """Compute the tokens of fresh patients' pictures of one modality."""
    model, checkpoint = load_member(member, number)
    baseline = checkpoint.settings
    bank = open_bank(fresh, baseline.modality, baseline.fit.image_size)
    if damage:
        bank = replace(bank, pixels=damage(np.array(bank.pixels)))
    settings = HeadSettings().of_tokens.model_copy(update={"copies": 0})
    return compute_tokens(model, baseline, bank, settings, device=torch.device("cpu"))


def gather_fresh(pictures: list[PictureTokens], fresh: Cohort) -> Triplets:
    """Gather the triplets of fresh patients, in their order."""
    labels = fresh.patients.set_index(PATIENT)[LABEL]
    bank = token_bank(pictures, labels, fresh.patients.set_index(PATIENT)[[]])
    return bank.cut(bank.of(fresh.patients[PATIENT].tolist())).triplets.to(torch.device("cpu"))


def _ask(head: torch.nn.Module, triplets: Sequence[Triplets]) -> np.ndarray:
    """Predict the logits of several versions of the same patients. (N, P, C)."""
    with torch.inference_mode():
        return np.stack([head(each).numpy() for each in triplets])
