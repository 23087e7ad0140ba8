"""Patterns of missing pictures for `missing.py`: who lacks what, and the law by which they do."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import brentq

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import load_cohort, save_cohort
from fusion_ln.cohort.head import HEAD, new_cohort
from fusion_ln.cohort.phantom.findings import tables
from fusion_ln.cohort.phantom.patients import chances_by_class, draw_present
from fusion_ln.terms import LABEL, MODALITY, PATIENT

LINK = 0.5  # strength with which missing goes with the class, where it does


@dataclass(frozen=True)
class Pattern:
    """A share of broken triplets and how they break.

    Attributes:
        kind: ``random``, ``linked`` (random, by class), or the modality that broken triplets lack.
        broken: Percentage of triplets that lack a picture.
    """

    kind: str
    broken: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.broken}" if self.broken else "complete"

    @property
    def broken_modalities(self) -> tuple[str, ...]:
        """Modalities that some patients lack."""
        if not self.broken:
            return ()
        return (self.kind,) if self.kind in tables().modalities else tables().modalities

    @property
    def link(self) -> float:
        """Strength with which missing goes with the class."""
        return LINK if self.kind == "linked" else 0.0

    @property
    def missing(self) -> tuple[float, ...]:
        """Chance that each modality's picture is missing, as `draw_present` takes it."""
        known, share = tables(), self.broken / 100
        if self.kind in known.modalities or not share:
            return tuple(share * (name in self.broken_modalities) for name in known.modalities)

        def excess(chance: float) -> float:
            broken = 1 - (1 - chances_by_class(chance, self.link)).prod(axis=1)  # of each class
            return float(known.prevalence @ broken) - share

        return (float(brentq(excess, 0, 1 / (1 + self.link))),) * len(known.modalities)


def masked_cohort(cohort: Cohort, pattern: Pattern, folder: Path, seed: int) -> Cohort:
    """Take pictures away from a complete cohort, or open what is there already; patients and folds stay."""
    if not pattern.broken:
        return cohort
    if (folder / HEAD).is_file():
        return load_cohort(folder)
    present = draw_present(
        cohort.patients[LABEL].to_numpy(), pattern.missing, pattern.link, np.random.default_rng(seed)
    )
    rows = cohort.patients[PATIENT].searchsorted(cohort.images[PATIENT])
    columns = [cohort.modalities.index(modality) for modality in cohort.images[MODALITY]]
    kept = cohort.images[present[rows, columns]].reset_index(drop=True)
    details = cohort.details.model_copy(update={"attainable": type(cohort.details.attainable)()})
    with new_cohort(folder):
        masked = replace(cohort, root=folder, name=f"{cohort.name}-{pattern}", images=kept, details=details)
        save_cohort(masked)
    return masked
