"""Speed of a cohort's import beside the decoding of its pictures."""

import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from fusion_ln.bench.record import Figure, measure
from fusion_ln.cohort.default import simulate_phantom
from fusion_ln.cohort.importing import import_cohort
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.cohort.source import open_source
from fusion_ln.decode.picture import read_picture
from fusion_ln.files.formats import write_csv
from fusion_ln.terms import LABEL, MODALITY, PATH, PATIENT, VIEW
from fusion_ln.threads import map_with_progress


def import_figures(*, patients: int) -> Iterator[Figure]:
    """Time the import of a simulated archive that a table describes."""
    with tempfile.TemporaryDirectory() as folder:
        cohort = simulate_phantom(Path(folder) / "phantom", PhantomSettings(patients=patients, image_size=256))
        rows = cohort.images.merge(cohort.patients[[PATIENT, LABEL]], on=PATIENT)
        files = [cohort.pictures / path for path in rows[PATH]]
        rows = rows.assign(**{PATH: [str(file) for file in files], LABEL: [cohort.classes[n] for n in rows[LABEL]]})
        table, numbers = Path(folder) / "table.csv", count()
        write_csv(table, rows[[PATIENT, LABEL, MODALITY, VIEW, PATH]])

        def ours() -> None:
            import_cohort(open_source("table", table), Path(folder) / f"cohort-{next(numbers)}")

        def decode() -> None:
            for _ in map_with_progress("Decoding", read_picture, files):
                pass

        task = f"import of {patients} patients, {len(files)} PNG files of 256 px"
        yield measure("import", task, ours, "decoding of the files alone, all cores", decode)
