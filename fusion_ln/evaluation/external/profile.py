"""Profile of a cohort: classes, pictures, findings and gaps in figures of all patients, which names none of them."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field, FiniteFloat

from fusion_ln.records.parts import Strict
from fusion_ln.terms import MODALITY, PATIENT

FEWEST_SHOWN = 5  # patients behind a figure of a profile; a category of fewer is not named
MOST_NAMED_LEVELS = 12  # a text with more values may name patients
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
FEATURES = {
    "brightness": "mean grey value",
    "contrast": "standard deviation of the grey values",
    "detail": "mean step between neighbouring grey values",
    "colour": "mean spread between the colour channels",
}
_BLOCK = 256  # pictures measured at once


class Distribution(Strict):
    """A number over pictures or patients: mean, standard deviation and the quantiles `QUANTILES`."""

    n: Annotated[int, Field(ge=1)]
    mean: FiniteFloat
    deviation: Annotated[FiniteFloat, Field(ge=0)]
    quantiles: tuple[FiniteFloat, ...]

    @classmethod
    def of(cls, values: np.ndarray) -> "Distribution":
        """Describe some numbers, at least one."""
        quantiles = tuple(float(q) for q in np.quantile(values, QUANTILES))
        return cls(n=len(values), mean=float(values.mean()), deviation=float(values.std()), quantiles=quantiles)


class Moments(Strict):
    """A number over the patients of a class: mean and standard deviation."""

    n: Annotated[int, Field(ge=2)]
    mean: FiniteFloat
    deviation: Annotated[FiniteFloat, Field(ge=0)]


class CohortProfile(Strict):
    """A cohort without its patients.

    Attributes:
        patients: Number of patients.
        presence: Patients by the modalities of which they have pictures, as in ``2d+elastic``; empty: none.
        pictures: By modality and feature of `FEATURES`, of pictures as networks see them, on a scale from 0 to 1.
        given_class: By class, modality and feature, over patients, at least `FEWEST_SHOWN`; empty without labels.
        numbers: Clinical columns of numbers.
        categories: Share of each level among the patients whose value is known, by clinical column; a level of fewer
            than `FEWEST_SHOWN` patients is not among them.
        known: Patients whose value is known, by clinical column.
    """

    patients: Annotated[int, Field(ge=1)]
    presence: dict[str, int]
    pictures: dict[str, dict[str, Distribution]] = Field(default_factory=dict)
    given_class: dict[str, dict[str, dict[str, Moments]]] = Field(default_factory=dict)
    numbers: dict[str, Distribution] = Field(default_factory=dict)
    categories: dict[str, dict[str, FiniteFloat]] = Field(default_factory=dict)
    known: dict[str, int] = Field(default_factory=dict)


def profile_cohort(
    images: pd.DataFrame,
    patients: Sequence[str],
    modalities: Sequence[str],
    features: Mapping[str, pd.DataFrame],
    clinical: pd.DataFrame,
) -> CohortProfile:
    """Make the profile of a cohort.

    Args:
        images: ``patient_id, modality``, a row per picture.
        patients: The patients.
        modalities: The modalities that count.
        features: What `measure_pictures` found, by modality.
        clinical: Clinical columns, a row per patient.
    """
    measured = {modality: table for modality, table in features.items() if len(table) >= FEWEST_SHOWN}
    numbers, categories, known = {}, {}, {}
    for name in map(str, clinical.columns):
        values = clinical[name].dropna()
        if len(values) < FEWEST_SHOWN:
            continue
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            numbers[name] = Distribution.of(values.to_numpy(dtype=np.float64))
        elif values.nunique() <= MOST_NAMED_LEVELS:
            counts = values.astype(str).value_counts().sort_index()
            categories[name] = {str(level): n / len(values) for level, n in counts.items() if n >= FEWEST_SHOWN}
        else:
            continue
        known[name] = len(values)
    return CohortProfile(
        patients=len(patients),
        presence=count_presence(images, patients, modalities),
        pictures={m: {f: Distribution.of(table[f].to_numpy()) for f in FEATURES} for m, table in measured.items()},
        numbers=numbers,
        categories=categories,
        known=known,
    )


def moments_given_class(
    features: pd.DataFrame, patients: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> dict[str, dict[str, Moments]]:
    """Describe the pictures of each class in one modality, a patient's pictures by their mean.

    Args:
        features: What `measure_pictures` found. N rows.
        patients, labels: Patient and class of each picture. Shapes (N,).
        classes: Names, in label order.

    Returns:
        By class and feature; a class of fewer than `FEWEST_SHOWN` patients is left out.
    """
    of_patient = features.groupby([labels, patients]).mean()
    found = {}
    for label, name in enumerate(classes):
        if (labels == label).any() and len(own := of_patient.loc[label]) >= FEWEST_SHOWN:
            found[name] = {f: Moments(n=len(own), mean=own[f].mean(), deviation=own[f].std()) for f in FEATURES}
    return found


def count_presence(images: pd.DataFrame, patients: Sequence[str], modalities: Sequence[str]) -> dict[str, int]:
    """Count the patients by the modalities of which they have pictures, the most frequent pattern first."""
    held = images[images[MODALITY].isin(list(modalities))].groupby(PATIENT)[MODALITY].agg(set)
    names = ["+".join(m for m in modalities if m in held.get(patient, set())) for patient in patients]
    return {str(name): int(n) for name, n in pd.Series(names).value_counts(sort=True).items()}


def measure_pictures(pixels: np.ndarray) -> pd.DataFrame:
    """Measure `FEATURES` of pictures (N, 3, S, S), uint8; a column each, a row per picture, from 0 to 1."""
    parts = [_measure(pixels[start : start + _BLOCK]) for start in range(0, len(pixels), _BLOCK)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(FEATURES), dtype=np.float64)


def _measure(pixels: np.ndarray) -> pd.DataFrame:
    values = pixels.astype(np.float32) / 255
    grey = values.mean(axis=1)  # (N, S, S)
    steps = [np.abs(np.diff(grey, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)]
    spread = values.max(axis=1) - values.min(axis=1)
    columns = (grey.mean(axis=(1, 2)), grey.std(axis=(1, 2)), (steps[0] + steps[1]) / 2, spread.mean(axis=(1, 2)))
    return pd.DataFrame({name: column.astype(np.float64) for name, column in zip(FEATURES, columns, strict=True)})
