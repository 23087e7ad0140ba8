"""Maps of one patient as a job: any process computes them on its own and writes them to the explanation's folder."""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from fusion_ln.cohort.folder import load_cohort
from fusion_ln.compute.job import Movable, OnEpoch
from fusion_ln.explain.attribution import Attribution
from fusion_ln.explain.held_out import HeldOut
from fusion_ln.explain.map_metrics import MapCurves, MapScores, MapTests, random_maps
from fusion_ln.explain.methods import METHODS
from fusion_ln.explain.network import Case
from fusion_ln.files.formats import write_arrays
from fusion_ln.models.triplet import load_fold
from fusion_ln.predictions import read_predictions
from fusion_ln.runs import ExplanationFolder, RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.terms import RANDOM_MAPS

EXPLAIN_SEED = 0  # seed of squares, noise and random maps, the same for every method and patient
CPU = DeviceSettings(device="cpu")


@dataclass(frozen=True)
class MapsJob(Movable):
    """Maps of one patient by some methods.

    Attributes:
        run: Folder of the finished run.
        cohort: Folder of its cohort.
        out: Folder of the explanation.
        patient: Patient of the run.
        target: Class to explain.
        methods: Names of `METHODS`, or `RANDOM_MAPS`.
        trust: Score the maps.
        predictions: Hash of the run's predictions.
    """

    run: Path
    cohort: Path
    out: Path
    patient: str
    target: int
    methods: tuple[str, ...]
    trust: bool
    predictions: str
    device: DeviceSettings = field(default=CPU, kw_only=True)

    def __str__(self) -> str:
        return self.patient

    @property
    def epochs(self) -> int:
        return len(self.methods)

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.run, self.cohort, self.out)

    def execute(self, on_epoch: OnEpoch) -> None:
        """Compute and write the maps by each method, with their scores if asked for."""
        held_out = _held_out(self.run, self.cohort, self.predictions)
        fold = held_out.fold(self.patient)
        maps = _PatientMaps(held_out, fold, held_out.case(self.patient).of(self.target))
        found = {}
        for number, method in enumerate(self.methods):
            found[method] = maps.explain(method, trust=self.trust)
            on_epoch(number, METHODS[method].title if method in METHODS else "random maps")
        curves = maps.tests.curves([each.maps for each, _ in found.values()]) if self.trust else [None] * len(found)
        for (method, (attribution, scores)), curve in zip(found.items(), curves, strict=True):
            arrays = maps.arrays(attribution) | _arrays(scores) | _arrays(curve)
            write_arrays(ExplanationFolder(self.out).maps(method, self.patient), arrays)


@lru_cache(maxsize=1)
def _held_out(run: Path, cohort: Path, predictions: str) -> HeldOut:
    """Open a run once per process; other ``predictions`` are another run."""
    folder = RunFolder(run)
    return HeldOut(lambda fold: load_fold(folder, fold), load_cohort(cohort), read_predictions(folder.predictions))


@dataclass(frozen=True)
class _PatientMaps:
    """A patient, with the models of the fold that held the patient out."""

    held_out: HeldOut
    fold: int
    case: Case

    @cached_property
    def tests(self) -> MapTests:
        return MapTests(self.held_out.explained(self.fold), self.case, EXPLAIN_SEED)

    def explain(self, method: str, *, trust: bool) -> tuple[Attribution, MapScores | None]:
        """Compute the maps by a method, and with ``trust`` their scores."""
        if method == RANDOM_MAPS:
            attribution = random_maps(self.case, EXPLAIN_SEED)
            return attribution, self.tests.score_random(attribution) if trust else None
        if not trust:
            return METHODS[method].attribute(self.tests.explained, self.case), None
        randomized = self.held_out.randomized(self.fold)
        attribution, quick, others = METHODS[method].with_quick(self.tests.explained, self.case, randomized)
        return attribution, self.tests.score(METHODS[method], attribution, quick, others)

    def arrays(self, attribution: Attribution) -> dict[str, np.ndarray]:
        """Name the map of each modality, the class and the error, as a file of maps does."""
        arrays = {m: each.numpy() for m, each in zip(self.held_out.modalities, attribution.maps, strict=True)}
        return arrays | {"target": np.array(self.case.target), "error": np.array(attribution.error)}


def _arrays(scores: MapScores | MapCurves | None) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in (vars(scores) if scores else {}).items()}
