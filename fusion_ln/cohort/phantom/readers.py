"""Simulated readers of phantom patients: noisy views of the exact posterior, as calls and as suspicion from 1 to 5."""

import numpy as np
import pandas as pd
from scipy.special import softmax

from fusion_ln.cohort.phantom.findings import Tables, posterior, tables
from fusion_ln.terms import READER

SKILL = (0.45, 0.75)  # lowest and highest share of the evidence that a reader sees
COMMON_SD, OWN_SD = 0.6, 0.8  # noise in log-probability that all readers share of a patient, and a reader's own
SUSPICION_STEPS = (0.1, 0.3, 0.6, 0.85)  # probabilities at which the suspicion rises by one


def draw_readers(patients: pd.DataFrame, n: int, rng: np.random.Generator, known: Tables | None = None) -> pd.DataFrame:
    """Draw the columns of ``n`` readers, who know the findings of all three pictures and the shares of the classes.

    Returns:
        ``reader:R<i>`` (a class name) and, for each class, ``reader:R<i>:<class>`` (1 to 5), by row of ``patients``.
    """
    classes = tables().classes
    evidence = np.log(posterior(patients, tables().modalities, known).clip(1e-6))  # (P, C)
    common = COMMON_SD * rng.normal(size=evidence.shape)
    columns: dict[str, np.ndarray] = {}
    for number in range(1, n + 1):
        skill, own = rng.uniform(*SKILL), OWN_SD * rng.normal(size=evidence.shape)
        probs = softmax(skill * evidence + common + own, axis=1)
        columns[f"{READER}R{number}"] = np.array(classes, dtype=object)[probs.argmax(axis=1)]
        for label, name in enumerate(classes):
            columns[f"{READER}R{number}:{name}"] = 1 + np.searchsorted(SUSPICION_STEPS, probs[:, label])
    return pd.DataFrame(columns, index=patients.index)
