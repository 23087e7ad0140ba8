"""Default cohorts of the commands: simulated, in the cache folder."""

from pathlib import Path

from pydantic import Field

from fusion_ln.cohort.cohort import Cohort, load_cohort
from fusion_ln.cohort.phantom.organs import ORGANS, simulate_organs
from fusion_ln.cohort.phantom.simulate import simulate_cohort
from fusion_ln.progress import say
from fusion_ln.settings import LAST_SEED, MOST, Settings
from fusion_ln.terms import cache_folder


class PhantomSettings(Settings):
    """A simulated cohort."""

    patients: int = Field(240, ge=1, le=MOST, description="Number of patients.")
    image_size: int = Field(96, ge=32, le=2048, description="Pixels a side.")
    seed: int = Field(0, ge=0, le=LAST_SEED, description="Seed of all randomness.")
    sites: int = Field(3, ge=1, le=MOST, description="Hospitals, each with its own scanner settings.")
    missing: float = Field(0.0, ge=0, lt=1, description="Chance that a picture is missing.")
    shortcut: float = Field(0.0, ge=0, le=1, description="Share of pictures stamped by label.")


def open_cohort(folder: Path | None) -> Cohort:
    """Open the cohort in ``folder`` or, without one, the default phantom.

    Raises:
        CohortError: If the folder is no cohort, or a damaged one.
    """
    return load_cohort(folder) if folder else open_phantom(PhantomSettings())


def open_phantom(settings: PhantomSettings) -> Cohort:
    """Open the simulated cohort of these settings in the cache folder; simulate it first if it is missing."""
    values = settings.model_dump()
    folder = cache_folder() / "cohorts" / "-".join(["phantom", *(f"{key}={value}" for key, value in values.items())])
    if (folder / "cohort.toml").is_file():
        say(f"Using the simulated cohort {folder}")
        return load_cohort(folder)
    say(f"No cohort given: simulating {settings.patients} patients in {folder}")
    return simulate_cohort(
        folder,
        n_patients=settings.patients,
        image_size=settings.image_size,
        seed=settings.seed,
        n_sites=settings.sites,
        missing=settings.missing,
        shortcut=settings.shortcut,
    )


ORGAN_PATIENTS = 480  # of each organ task


def open_organs(image_size: int) -> list[Cohort]:
    """Open the simulated organ tasks in the cache folder; simulate them first if one is missing."""
    folder = cache_folder() / "cohorts" / f"organs-patients={ORGAN_PATIENTS}-image_size={image_size}"
    cohorts = [folder / f"simulated-{organ.name}" for organ in ORGANS]
    if all((cohort / "cohort.toml").is_file() for cohort in cohorts):
        say(f"Using the simulated organ tasks in {folder}")
        return [load_cohort(cohort) for cohort in cohorts]
    say(f"No task given: simulating {len(ORGANS)} organ tasks of {ORGAN_PATIENTS} patients in {folder}")
    return simulate_organs(folder, n_patients=ORGAN_PATIENTS, image_size=image_size)
