"""Profile of the cohort that a model learns from, or meets: its pictures as the model's networks see them."""

from collections.abc import Mapping

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.evaluation.external.profile import (
    CohortProfile,
    Moments,
    measure_pictures,
    moments_given_class,
    profile_cohort,
)
from fusion_ln.images.bank import open_bank
from fusion_ln.terms import PATIENT, is_clinical


def profile_of(cohort: Cohort, sides: Mapping[str, int], *, labelled: bool = True) -> CohortProfile:
    """Make the profile of a cohort, see `CohortProfile`.

    Args:
        cohort: The cohort.
        sides: Pixels a side of the pictures, by modality.
        labelled: Look at labels, for pictures given the class.

    Raises:
        CohortError, PictureError: If a picture is not the one that was imported, or cannot be read.
    """
    held = [m for m in sides if m in cohort.modalities and cohort.patients_with(m)]
    banks = {m: open_bank(cohort, m, sides[m]) for m in held}
    features = {m: measure_pictures(bank.pixels) for m, bank in banks.items()}
    given_class: dict[str, dict[str, dict[str, Moments]]] = {}
    for m, bank in banks.items() if labelled else ():
        for name, moments in moments_given_class(features[m], bank.patients, bank.labels, cohort.classes).items():
            given_class.setdefault(name, {})[m] = moments
    clinical = cohort.patients[[name for name in cohort.patients if is_clinical(str(name))]]
    found = profile_cohort(cohort.images, cohort.patients[PATIENT].tolist(), list(sides), features, clinical)
    return found.model_copy(update={"given_class": given_class})
