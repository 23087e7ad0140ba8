"""Settings of an explanation, read without torch, so that its options need none."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from fusion_ln.errors import SettingsError, unknown
from fusion_ln.settings.base import LAST_SEED, MOST, Settings

SAMPLE = 12  # patients that are drawn by default
METHOD_NAMES = ("gradcam", "guided-gradcam", "ig", "occlusion", "attention")


class ExplainSettings(Settings):
    """Patients to explain, and methods to explain them by."""

    patients: tuple[str, ...] = Field((), description="Patients to explain.  [default: a sample]")
    sample: int | None = Field(
        None, ge=1, le=MOST, description=f"Patients to draw, all classes alike.  [default: {SAMPLE}]"
    )
    errors: bool = Field(False, description="Only patients whom the run misclassifies; all of them without --sample.")
    methods: tuple[str, ...] = Field(
        (), description=f"{', '.join(METHOD_NAMES)}.  [default: all that fit the networks]"
    )
    trust: bool = Field(True, description="Score the maps, beside random maps and models with shuffled weights.")
    everyone: bool = Field(False, description="Contributions of the modalities for all patients of the run.")
    seed: int = Field(0, ge=0, le=LAST_SEED, description="Seed of the sample.")

    @property
    def several(self) -> bool:
        """Whether more than one patient may be explained."""
        return len(self.patients) != 1 and self.sample != 1

    @field_validator("methods")
    @classmethod
    def _check_methods(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in METHOD_NAMES:
                raise SettingsError(*unknown("method", name, METHOD_NAMES, where="--method"))
        return tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _check_choice(self) -> Self:
        if self.patients and (self.sample or self.errors):
            raise SettingsError(
                "patients are both named and drawn.", "Name them (--patients), or draw them (--sample, --errors)."
            )
        return self
