"""Simulated grey-scale ultrasound: echo strength of tissue in, speckled and log-compressed picture out.

Lengths are millimetres, so that a scene looks the same at every picture size. Echo strengths are decibels
below the brightest echo; 0 dB is white at zero gain.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

LOOKS = 2  # pictures from several angles averaged by the scanner: finer speckle
FWHM = 2.355  # full width at half maximum of a Gaussian, in standard deviations


@dataclass(frozen=True)
class Patch:
    """The square patch of tissue in a picture, the skin at its top."""

    pixels: int
    side_mm: float

    @property
    def pixels_per_mm(self) -> float:
        return self.pixels / self.side_mm

    @cached_property
    def x(self) -> np.ndarray:
        """Distance from the left edge. Shape (1, pixels)."""
        return ((np.arange(self.pixels, dtype=np.float32) + 0.5) / np.float32(self.pixels_per_mm))[None, :]

    @cached_property
    def y(self) -> np.ndarray:
        """Depth. Shape (pixels, 1)."""
        return self.x.T


@dataclass(frozen=True)
class Scanner:
    """Settings of a site's scanner.

    Attributes:
        depth_mm: Depth, and width, of its pictures.
        resolution_mm: Width of its beam (full width at half maximum); along the beam it is twice as sharp.
    """

    name: str
    depth_mm: float
    gain_db: float
    dynamic_range_db: float
    resolution_mm: float


def smooth_noise(patch: Patch, rng: np.random.Generator, width_mm: float, height_mm: float | None = None) -> np.ndarray:
    """Draw a random field that changes over about ``width_mm`` (and ``height_mm``), of mean 0, deviation 1. (H, W)."""
    sizes = np.array([patch.side_mm / width_mm, patch.side_mm / (height_mm or width_mm)])
    columns, rows = np.ceil(sizes).astype(int) + 2
    lattice = Image.fromarray(rng.standard_normal((rows, columns), dtype=np.float32))
    left, top = rng.random(2)  # the lattice must not lie the same way in every picture
    box = (left, top, left + sizes[0], top + sizes[1])
    field = np.asarray(lattice.resize((patch.pixels, patch.pixels), Image.Resampling.BICUBIC, box=box))
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6))


def soft_step(distance_mm: np.ndarray, width_mm: float) -> np.ndarray:
    """Compute a soft mask: 1 where ``distance_mm`` is negative (inside), 0 where positive, over about ``width_mm``."""
    return np.asarray(0.5 - 0.5 * np.tanh(distance_mm * (2 / width_mm)))


def blend(under: np.ndarray, over: np.ndarray | float, share: np.ndarray | float) -> np.ndarray:
    """Mix two fields: ``over`` where ``share`` is 1, ``under`` where it is 0."""
    return under + (over - under) * share


def scan(echo_db: np.ndarray, patch: Patch, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Turn echo strength into a grey-scale picture.

    Random scatterers, weighted by the echo strength, are convolved with the scanner's point-spread function; the
    envelope of the complex sum is speckle (Wagner et al. 1983), which log compression maps to grey.

    Args:
        echo_db: Echo strength. Shape (H, W).

    Returns:
        Grey values in [0, 1]. Shape (H, W).
    """
    lateral = scanner.resolution_mm * patch.pixels_per_mm / FWHM
    sigma = (lateral / 2, lateral)
    amplitude = np.exp(echo_db.astype(np.float32) * np.float32(math.log(10) / 20))
    power = np.zeros_like(amplitude)
    for _ in range(2 * LOOKS):  # real and imaginary part of each look
        scatterers = amplitude * rng.standard_normal(amplitude.shape, dtype=np.float32)
        power += gaussian_filter(scatterers, sigma, mode="nearest", truncate=3) ** 2
    power *= 4 * math.pi * sigma[0] * sigma[1] / (2 * LOOKS)  # the mean power of even tissue is its echo strength
    decibel = 10 * np.log10(power + 1e-9) + scanner.gain_db
    return np.asarray(np.clip(1 + decibel / scanner.dynamic_range_db, 0, 1))
