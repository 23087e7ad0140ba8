"""Parts of a fold's patients: their classes, and the parts that cross-fitted networks leave out."""

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folds import draw_parts
from fusion_ln.errors import CohortError
from fusion_ln.terms import LABEL, PATIENT

CROSS_PARTS = 3  # networks of a fold that leave a part of its training patients out each, for `--tokens cross-fitted`


def check_patients(cohort: Cohort, modality: str) -> None:
    """Check the patients of a baseline, before anything is trained.

    Every fold has training patients of every class with a picture, inner validation patients, and patients
    to hold out.

    Raises:
        CohortError: If one has not, the patients have no labels, the modality is absent, or two patients have the
            same picture.
    """
    cohort.refuse_unlabelled()
    labels = cohort.patients.set_index(PATIENT)[LABEL].loc[cohort.images_of(modality)[PATIENT].unique()]
    for number in range(cohort.n_folds):
        for part, patients in zip(("training", "inner validation"), cohort.training_part(number), strict=True):
            present = set(labels[labels.index.isin(patients)])
            if (part == "training" and len(present) < len(cohort.classes)) or not present:
                missing = next(c for label, c in enumerate(cohort.classes) if label not in present)
                raise CohortError(
                    f"cohort {cohort.name}: the {part} part of fold {number} has no patient of class {missing!r} "
                    f"with a picture of {modality}.",
                    _way_out(cohort, modality, missing),
                )
        if not labels.index.isin(cohort.held_out(number)).any():
            raise CohortError(
                f"cohort {cohort.name}: no patient whom fold {number} holds out has a picture of {modality}.",
                "Draw other folds (`fusionln cohort folds DIR --seed N`), or leave the modality out.",
            )
    cohort.refuse_repeated_pictures(modality)


def _way_out(cohort: Cohort, modality: str, name: str) -> str:
    """Advise on a class that some part lacks: other folds help only where there are patients to spread."""
    patients = cohort.patients[cohort.patients[PATIENT].isin(cohort.patients_with(modality))]
    held = int((patients[LABEL] == cohort.classes.index(name)).sum())
    if held > cohort.n_folds:
        return "Draw other folds (`fusionln cohort folds DIR --seed N`), or add patients."
    there_are = f"The cohort has {held} such patients" if held != 1 else "The cohort has a single such patient"
    return f"{there_are}: add some, leave the class out, or choose another modality."


def training_parts(cohort: Cohort, fold: int) -> list[list[str]]:
    """Divide the training patients of a fold into `CROSS_PARTS` parts."""
    training = cohort.patients[cohort.patients[PATIENT].isin(cohort.training_part(fold)[0])]
    part = draw_parts(training, CROSS_PARTS, fold, cohort.classes)
    return [training.loc[part == number, PATIENT].tolist() for number in range(CROSS_PARTS)]
