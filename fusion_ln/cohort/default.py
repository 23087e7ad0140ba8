"""The cohort that a command uses when it is given none."""

from pathlib import Path

from fusion_ln.cohort.cohort import Cohort, load_cohort
from fusion_ln.cohort.phantom.simulate import simulate_cohort
from fusion_ln.progress import say
from fusion_ln.settings import PhantomSettings
from fusion_ln.terms import cache_folder


def open_cohort(folder: Path | None) -> Cohort:
    """The cohort in ``folder`` or, without one, the default phantom.

    Raises:
        CohortError: If the folder is no cohort, or a damaged one.
    """
    return load_cohort(folder) if folder else open_phantom(PhantomSettings())


def open_phantom(settings: PhantomSettings) -> Cohort:
    """The simulated cohort of these settings, from the cache folder; made there first if it is new."""
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
