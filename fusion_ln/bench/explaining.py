"""Speed of an explanation: maps of one patient by every method, with their tests."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fusion_ln.bench.matrices import against_matrices, count_operations
from fusion_ln.bench.record import Figure, seconds
from fusion_ln.cohort.folder import open_run_cohort
from fusion_ln.compute.threads import fixed_threads
from fusion_ln.explain.job import MapsJob
from fusion_ln.explain.methods import fitting_methods
from fusion_ln.explain.network import Explained
from fusion_ln.files.hashes import hash_file
from fusion_ln.models.triplet import load_fold
from fusion_ln.predictions import read_predictions
from fusion_ln.runs import RunFolder
from fusion_ln.terms import FOLD, PATIENT, RANDOM_MAPS
from fusion_ln.threads import cores


def explain_figures(root: Path) -> Iterator[Figure]:
    """Time the maps of the first patient of a finished run, method by method, with one thread as beside others.

    The floor counts the passes that the method and its tests make, so it falls if fewer are made.
    """
    run = RunFolder(root)
    cohort, table = open_run_cohort(run, None), read_predictions(run.predictions).table
    patient, fold = str(table[PATIENT].iloc[0]), int(table[FOLD].iloc[0])
    methods = [*fitting_methods(Explained(load_fold(run, fold))), RANDOM_MAPS]
    digest = hash_file(run.predictions)
    with tempfile.TemporaryDirectory() as folder, fixed_threads(cores()):
        for method in methods:
            job = MapsJob(root, cohort.root, Path(folder), patient, 0, (method,), True, digest)
            work = partial(job.execute, lambda number, note: None)
            operations = count_operations(work)
            yield against_matrices("explain", f"{method}, one patient, with tests", seconds(work), operations)
