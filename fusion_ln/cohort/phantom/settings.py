"""Settings of the phantom, as options and experiment files give them."""

from pydantic import Field

from fusion_ln.settings import LAST_SEED, MOST, Settings

SMALLEST, LARGEST = 32, 2048  # pixels a side


class PhantomSettings(Settings):
    """A simulated cohort."""

    patients: int = Field(240, ge=1, le=MOST, description="Number of patients.")
    image_size: int = Field(96, ge=SMALLEST, le=LARGEST, description="Pixels a side.")
    seed: int = Field(0, ge=0, le=LAST_SEED, description="Seed of all randomness.")
    sites: int = Field(3, ge=1, le=MOST, description="Hospitals, each with its own scanner settings.")
    missing: float = Field(0.0, ge=0, lt=1, description="Chance that a picture is missing.")
    shortcut: float = Field(0.0, ge=0, le=1, description="Share of pictures stamped by label.")
