"""Profile of the cohort that a model learns from, or meets: its pictures as the model's networks see them."""

from collections.abc import Mapping

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.evaluation.external.profile import CohortProfile, measure_pictures, profile_cohort
from fusion_ln.images.bank import open_bank
from fusion_ln.terms import PATIENT, is_clinical


def profile_of(cohort: Cohort, sides: Mapping[str, int]) -> CohortProfile:
    """Make the profile of a cohort, see `CohortProfile`; ``sides``: pixels a side of the pictures, by modality.

    Raises:
        CohortError, PictureError: If a picture is not the one that was imported, or cannot be read.
    """
    held = [m for m in sides if m in cohort.modalities and cohort.patients_with(m)]
    features = {m: measure_pictures(open_bank(cohort, m, sides[m]).pixels) for m in held}
    clinical = cohort.patients[[name for name in cohort.patients if is_clinical(str(name))]]
    return profile_cohort(cohort.images, cohort.patients[PATIENT].tolist(), list(sides), features, clinical)
