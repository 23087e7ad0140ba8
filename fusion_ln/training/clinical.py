"""Clinical columns of a cohort as numbers that a head can take."""

import numpy as np
import pandas as pd

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import CohortError
from fusion_ln.terms import LABEL, PATIENT, SITE


def clinical_columns(cohort: Cohort, columns: tuple[str, ...]) -> np.ndarray:
    """Values of clinical columns, one row per row of ``cohort.patients``; missing ones are NaN. Shape (P, K).

    Raises:
        CohortError: If a column is missing, constant, or text with other than two values.
    """
    values = []
    for column in columns:
        if column not in cohort.patients:
            known = ", ".join(c for c in cohort.patients.columns if c not in (PATIENT, LABEL, SITE))
            raise CohortError(f"cohort {cohort.name}: no clinical column {column!r}.", f"It has {known}.")
        held = cohort.patients[column]
        if held.nunique() < 2:
            raise CohortError(
                f"cohort {cohort.name}: column {column!r} is constant, so it tells nothing.",
                "Leave it out of `--clinical`.",
            )
        if not pd.api.types.is_numeric_dtype(held):
            kinds = held.dropna().unique()
            if len(kinds) != 2:
                raise CohortError(
                    f"cohort {cohort.name}: column {column!r} is text with {len(kinds)} values; "
                    "a number, or two values, is needed.",
                    "Leave it out of `--clinical`, or code it as numbers in the source.",
                )
            held = held.map({kind: position for position, kind in enumerate(sorted(kinds))})
        values.append(held.to_numpy(dtype=np.float64))
    return np.stack(values, 1) if values else np.zeros((len(cohort.patients), 0))


def standardised(values: np.ndarray, cohort: Cohort, fold: int) -> np.ndarray:
    """Mean 0 and standard deviation 1 over the fold's training patients; a missing value is the mean. float32."""
    training = cohort.patients[PATIENT].isin(cohort.training_part(fold)[0]).to_numpy()
    mean, spread = np.nanmean(values[training], axis=0), np.nanstd(values[training], axis=0)
    scaled: np.ndarray = np.nan_to_num((values - mean) / np.where(spread > 0, spread, 1)).astype(np.float32)
    return scaled
