"""Several nodes of simulated patients, whose classes and findings go together."""

import numpy as np
import pandas as pd

from fusion_ln.cohort.phantom.findings import Tables, draw_findings, tables
from fusion_ln.cohort.phantom.patients import draw_axes
from fusion_ln.terms import LABEL, PATIENT
from fusion_ln.units import node_name

SAME_CLASS = 0.75  # chance that a further node has the class of the patient's first
SAME_FINDING = 0.5  # chance that each finding of such a node is that of the first


def draw_nodes(
    patients: pd.DataFrame, most: int, rng: np.random.Generator, known: Tables | None = None
) -> pd.DataFrame:
    """Draw one to ``most`` nodes of each patient; the first is the patient's row, and site and clinical columns stay.

    A further node takes the class of the first or any, in the shares of the law, and of one of the same class it copies
    some findings. So findings given the class, and what is attainable from one node, stay as the tables say, while the
    nodes of a patient are alike beyond their class.
    """
    law = known or tables()
    owners = np.repeat(np.arange(len(patients)), rng.integers(1, most + 1, len(patients)))
    number = np.arange(len(owners)) - np.searchsorted(owners, owners)
    nodes = patients.iloc[owners].reset_index(drop=True)
    first = nodes[LABEL].to_numpy()
    other = rng.choice(len(law.classes), len(owners), p=law.prevalence)
    labels = np.where((number == 0) | (rng.random(len(owners)) < SAME_CLASS), first, other)
    drawn = draw_findings(labels, rng)
    for name in drawn:
        kept = (number == 0) | ((labels == first) & (rng.random(len(owners)) < SAME_FINDING))
        nodes[name] = nodes[name].where(kept, drawn[name])
    axes = draw_axes(nodes[list(drawn)], rng)
    for name in axes:
        nodes[name] = nodes[name].where(number == 0, axes[name])
    names = [node_name(patient, str(node + 1)) for patient, node in zip(nodes[PATIENT], number, strict=True)]
    nodes[PATIENT], nodes[LABEL] = names, labels.astype(np.int64)
    return nodes
