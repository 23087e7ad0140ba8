"""Shifted hospitals: differences from the home hospitals, whose sizes the seed draws, so that the law is known."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from fusion_ln.cohort.phantom.findings import Tables, tables
from fusion_ln.cohort.phantom.modalities.bmode import Scanner
from fusion_ln.cohort.phantom.settings import SHIFTS, ShiftName

SHIFT_KEY = 4  # of the shifts' random numbers, beside those of patients, pictures, organs and readers
GAIN_DB = (6.0, 10.0)  # brighter or darker by so much
DEPTH = (1.2, 1.5)  # deeper by this factor: a shallower picture would cut the node off
BLUR, RANGE = (1.4, 1.9), (0.65, 0.8)  # of the beam's width and of the dynamic range, by these factors
LEAST_SHARE = 0.1  # of a class
LEAST_MOVED = 0.2  # sum of what the shares of the classes gain
MISSING_CHANCES = (0.1, 0.6)  # chance that a modality's picture is missing


@dataclass(frozen=True)
class Shift:
    """Difference of another hospital from the home ones; as it stands here, none.

    Attributes:
        gain_db: Added to the gain of every scanner: pictures are brighter or darker (``gain``).
        depth: Factor of the depth of every picture: the node is smaller (``depth``).
        resolution, dynamic_range: Factors of the beam's width and of the dynamic range: speckle is coarser, contrast
            harder (``scanner``).
        prevalence: Share of each class; None: as at home (``prevalence``). Within a class nothing changes.
        missing: Chance that the picture of each modality is missing, whatever the class; None: as asked for
            (``missing``).
    """

    gain_db: float = 0.0
    depth: float = 1.0
    resolution: float = 1.0
    dynamic_range: float = 1.0
    prevalence: tuple[float, ...] | None = None
    missing: tuple[float, ...] | None = None

    @property
    def law(self) -> Tables:
        """The phantom's tables with the shares of the classes of this hospital."""
        home = tables()
        return home if self.prevalence is None else replace(home, prevalence=np.array(self.prevalence))

    def scanner(self, home: Scanner) -> Scanner:
        """Change the settings of a scanner."""
        return replace(
            home,
            gain_db=home.gain_db + self.gain_db,
            depth_mm=home.depth_mm * self.depth,
            resolution_mm=home.resolution_mm * self.resolution,
            dynamic_range_db=home.dynamic_range_db * self.dynamic_range,
        )

    def describe(self) -> dict[str, float | dict[str, float]]:
        """List what differs, as a cohort's ``details.shift``."""
        home = Shift()
        found: dict[str, float | dict[str, float]] = {
            name: getattr(self, name)
            for name in ("gain_db", "depth", "resolution", "dynamic_range")
            if getattr(self, name) != getattr(home, name)
        }
        if self.prevalence is not None:
            found["prevalence"] = dict(zip(tables().classes, self.prevalence, strict=True))
        if self.missing is not None:
            found["missing"] = dict(zip(tables().modalities, self.missing, strict=True))
        return found


def draw_shift(names: Collection[str], seed: int) -> Shift:
    """Draw the size of each named shift; each has random numbers of its own, so none changes another's size."""
    shift = Shift()
    for key, name in enumerate(SHIFTS):
        if name in names:
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SHIFT_KEY, key)))
            shift = _DRAWS[name](shift, rng)
    return shift


def _draw_gain(shift: Shift, rng: np.random.Generator) -> Shift:
    return replace(shift, gain_db=round(float(rng.choice([-1, 1]) * rng.uniform(*GAIN_DB)), 1))


def _draw_depth(shift: Shift, rng: np.random.Generator) -> Shift:
    return replace(shift, depth=round(float(rng.uniform(*DEPTH)), 2))


def _draw_prevalence(shift: Shift, rng: np.random.Generator) -> Shift:
    home = tables().prevalence
    while True:  # a few draws
        shares = (LEAST_SHARE + (1 - LEAST_SHARE * len(home)) * rng.dirichlet(np.ones(len(home)))).round(3)
        shares[-1] = round(1 - float(shares[:-1].sum()), 3)
        if np.maximum(shares - home, 0).sum() >= LEAST_MOVED:
            return replace(shift, prevalence=tuple(shares.tolist()))


def _draw_scanner(shift: Shift, rng: np.random.Generator) -> Shift:
    blur, narrower = (round(float(rng.uniform(*bounds)), 2) for bounds in (BLUR, RANGE))
    return replace(shift, resolution=blur, dynamic_range=narrower)


def _draw_missing(shift: Shift, rng: np.random.Generator) -> Shift:
    return replace(shift, missing=tuple(rng.uniform(*MISSING_CHANCES, len(tables().modalities)).round(2).tolist()))


_DRAWS: Mapping[ShiftName, Callable[[Shift, np.random.Generator], Shift]] = {
    "gain": _draw_gain,
    "depth": _draw_depth,
    "prevalence": _draw_prevalence,
    "scanner": _draw_scanner,
    "missing": _draw_missing,
}
