"""Default cohorts of the commands: simulated, in the cache folder."""

from pathlib import Path

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.head import HEAD
from fusion_ln.cohort.phantom.organs import ORGANS, simulate_organs
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.cohort.phantom.simulate import simulate_cohort
from fusion_ln.files.locks import locked
from fusion_ln.files.names import as_file_name
from fusion_ln.progress import say
from fusion_ln.terms import cache_folder


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
    with locked(_lock_of(folder)):  # one command simulates, others wait for its cohort
        if (folder / HEAD).is_file():
            say(f"Using the simulated cohort {folder}")
            return load_cohort(folder)
        say(f"No cohort given: simulating {settings.patients} patients in {folder}")
        return simulate_phantom(folder, settings)


def simulate_phantom(folder: Path, settings: PhantomSettings, *, k: int = 5, by_site: bool = False) -> Cohort:
    """Simulate the cohort of these settings; see `simulate_cohort`."""
    return simulate_cohort(
        folder,
        n_patients=settings.patients,
        image_size=settings.image_size,
        seed=settings.seed,
        n_sites=settings.sites,
        missing=settings.missing,
        missing_link=settings.missing_link,
        shortcut=settings.shortcut,
        n_readers=settings.readers,
        most_nodes=settings.nodes,
        shift=settings.shift,
        k=k,
        by_site=by_site,
    )


ORGAN_PATIENTS = 480  # of each organ task


def open_organs(image_size: int) -> list[Cohort]:
    """Open the simulated organ tasks in the cache folder; simulate them first if one is missing."""
    folder = cache_folder() / "cohorts" / f"organs-patients={ORGAN_PATIENTS}-image_size={image_size}"
    with locked(_lock_of(folder)):
        if all((folder / f"simulated-{organ.name}" / HEAD).is_file() for organ in ORGANS):
            say(f"Using the simulated organ tasks in {folder}")
        else:
            say(f"No task given: simulating {len(ORGANS)} organ tasks of {ORGAN_PATIENTS} patients in {folder}")
        return simulate_organs(folder, n_patients=ORGAN_PATIENTS, image_size=image_size)


def _lock_of(folder: Path) -> Path:
    return cache_folder() / "locks" / as_file_name(folder.name)
