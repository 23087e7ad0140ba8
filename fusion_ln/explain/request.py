"""Settings of an explanation, and the choice of its patients."""

from typing import Self

import numpy as np
import pandas as pd
from pydantic import Field, field_validator, model_validator

from fusion_ln.errors import RunError, SettingsError, unknown
from fusion_ln.explain.methods import METHODS
from fusion_ln.predictions import Predictions
from fusion_ln.settings import Settings

SAMPLE = 12  # patients that are drawn by default


class ExplainSettings(Settings):
    """Patients to explain, and methods to explain them by."""

    patients: tuple[str, ...] = Field((), description="patients to explain; a sample, where empty")
    sample: int | None = Field(None, ge=1, description="patients to draw, all classes alike; 12 by default")
    errors: bool = Field(False, description="draw from the misclassified patients; all of them without a sample")
    methods: tuple[str, ...] = Field((), description="attribution methods; all that fit the networks, where empty")
    trust: bool = Field(True, description="score the maps, beside random maps and models with shuffled weights")
    everyone: bool = Field(False, description="contributions of the modalities for all patients of the run")
    seed: int = Field(0, ge=0, description="seed of the sample")

    @field_validator("methods")
    @classmethod
    def _check_methods(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in METHODS:
                raise SettingsError(*unknown("method", name, METHODS, where="--method"))
        return tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _check_choice(self) -> Self:
        if self.patients and (self.sample or self.errors):
            raise SettingsError(
                "patients are both named and drawn.", "Name them (--patients), or draw them (--sample, --errors)."
            )
        return self


def choose_patients(predictions: Predictions, settings: ExplainSettings) -> list[str]:
    """Choose the patients to explain, sorted: the named ones, or a draw that takes the classes in turn.

    Raises:
        RunError: If a named patient is not in the run, or there is none to draw from.
    """
    if settings.patients:
        if unknown := [patient for patient in settings.patients if patient not in set(predictions.patients)]:
            raise RunError(
                f"patient {unknown[0]!r} is not in the run: it predicts {len(predictions.patients)} patients, "
                f"from {predictions.patients[0]} to {predictions.patients[-1]}.",
                "See the ids in predictions.parquet; a baseline leaves out patients without its modality.",
            )
        return sorted(set(settings.patients))
    wrong = predictions.probs.argmax(1) != predictions.labels
    rows = np.flatnonzero(wrong if settings.errors else np.ones(len(wrong), dtype=bool))
    if not len(rows):
        raise RunError("the run misclassifies no patient, so `--errors` leaves none.", "Leave it out.")
    wanted = settings.sample or (len(rows) if settings.errors else SAMPLE)
    drawn = np.random.default_rng(settings.seed).permutation(rows)
    # The first of every class, then the second of every class, ...: as even as the classes allow.
    turn = pd.Series(predictions.labels[drawn]).groupby(predictions.labels[drawn]).cumcount().to_numpy()
    chosen = drawn[np.lexsort((predictions.labels[drawn], turn))][:wanted]
    return sorted(predictions.patients[row] for row in chosen)
