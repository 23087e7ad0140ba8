"""Example patients: one simulated patient of each class, drawn in memory."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fusion_ln.cohort.phantom.findings import tables
from fusion_ln.cohort.phantom.modalities.bmode import Scanner
from fusion_ln.cohort.phantom.patients import draw_patients
from fusion_ln.cohort.phantom.render import NodeSize, render_patient
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.manifests import load_manifest
from fusion_ln.terms import LABEL

SEED = 20_260_000  # of no cohort that a command makes by default
SIDE = PhantomSettings().image_size  # of the cohort by default: a model of it finds other sizes unlike


@dataclass(frozen=True)
class Example:
    """A simulated patient.

    Attributes:
        label: Name of the true class.
        pictures: Picture by modality.
    """

    label: str
    pictures: Mapping[str, Image.Image]


def draw_examples(per_class: int = 2, side: int = SIDE) -> list[Example]:
    """Draw patients, as many of each class; the same ones each time."""
    classes, modalities = tables().classes, tables().modalities
    scanner = Scanner(**load_manifest("phantom")["sites"][0])
    patients = draw_patients(30 * per_class, [scanner.name], np.random.default_rng(SEED))
    chosen = [row for label in range(len(classes)) for row in np.flatnonzero(patients[LABEL] == label)[:per_class]]
    examples = []
    for row in chosen:
        patient = patients.iloc[int(row)]
        size = NodeSize(patient["long_axis_mm"] / 2, patient["short_axis_mm"] / 2)
        pictures = {}
        for number, modality in enumerate(modalities):
            findings = {name: patient[name] for name in tables().shown[modality]}
            rng = np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(int(row), number)))
            drawn = render_patient(modality, findings, size, scanner, size=side, stamp=None, rng=rng)
            pictures[modality] = drawn.image
        examples.append(Example(classes[int(patient[LABEL])], pictures))
    return examples
