"""Settings of the phantom, as options and experiment files give them."""

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from fusion_ln.settings.base import ADDED, LAST_SEED, MOST, Settings

SMALLEST_SIDE, LARGEST_SIDE = 32, 2048  # pixels a side
MOST_READERS = 50
ShiftName = Literal["gain", "depth", "prevalence", "scanner", "missing"]
MOST_NODES = 9  # of a patient
SHIFTS: tuple[ShiftName, ...] = get_args(ShiftName)


class PhantomSettings(Settings):
    """A simulated cohort."""

    patients: int = Field(240, ge=1, le=MOST, description="Number of patients.")
    image_size: int = Field(96, ge=SMALLEST_SIDE, le=LARGEST_SIDE, description="Pixels a side.")
    seed: int = Field(0, ge=0, le=LAST_SEED, description="Seed of all randomness.")
    sites: int = Field(3, ge=1, le=MOST, description="Hospitals, each with its own scanner settings; up to 8.")
    missing: float = Field(0.0, ge=0, lt=1, description="Chance that a picture is missing.")
    shortcut: float = Field(0.0, ge=0, le=1, description="Share of pictures stamped by label.")
    missing_link: float = Field(
        0.0, ge=0, le=1, description="Strength with which missing goes with the label.", json_schema_extra=ADDED
    )
    readers: int = Field(
        0, ge=0, le=MOST_READERS, description="Simulated readers, who call every patient.", json_schema_extra=ADDED
    )
    nodes: int = Field(
        1,
        ge=1,
        le=MOST_NODES,
        description="Most nodes of a patient, with labels of their own; from 2 on the units are nodes.",
        json_schema_extra=ADDED,
    )
    shift: tuple[ShiftName, ...] = Field(
        (),
        description=f"Differences of another hospital, sizes by the seed: {', '.join(SHIFTS)}.",
        json_schema_extra=ADDED,
    )

    @model_validator(mode="after")
    def _check_link(self) -> Self:
        if self.missing_link and not self.missing:
            raise ValueError("missing_link: no picture is missing, so nothing can go with the label; set missing, too")
        if self.missing and "missing" in self.shift:
            raise ValueError("shift: missing draws the chances itself; leave the setting missing out")
        return self
