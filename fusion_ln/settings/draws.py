"""Settings of commands that train the same models several times: under other folds, or on fewer patients."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from fusion_ln.settings.base import Settings


class DrawSettings(Settings):
    """Further trainings of all models of a command."""

    repeats: int = Field(
        1,
        ge=1,
        le=1000,
        description="Cross-validations, each with folds and a seed of its own; from 2 on with a page on what the "
        "procedure gains, whatever the training.",
    )
    fractions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (),
        description="Parts of each fold's training patients to train on as well, as in 0.125,0.25,0.5: a learning "
        "curve, and what more patients would buy; three parts or more for its interval.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.repeats > 1 and self.fractions:
            raise ValueError("repeats and fractions: give one of them")
        smaller = {fraction for fraction in self.fractions if fraction < 1}
        if self.fractions and len(smaller) < 2:
            raise ValueError("fractions: a curve needs two parts below 1, as in 0.25,0.5 (all patients are its end)")
        return self
