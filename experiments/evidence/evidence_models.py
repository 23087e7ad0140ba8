"""Simulated models of the calibration of evidence, and their true figures."""

from collections import defaultdict
from functools import cache

import numpy as np
from scipy.special import softmax

from fusion_ln.metrics import score

CLASSES = ("benign", "lymphoma", "metastatic")
COUNTS = {
    30: (10, 10, 10),
    60: (17, 13, 30),
    100: (28, 21, 51),
    150: (42, 32, 76),
    240: (67, 50, 123),
    586: (164, 122, 300),
}
# Recall of model a and of model b, each over the range of its replicates.
MODELS = {
    "same": ((0.74, 0.84), (0.74, 0.84)),
    "apart": ((0.69, 0.79), (0.79, 0.89)),
    "recall 0.9": ((0.85, 0.95), (0.85, 0.95)),
    "recall 0.95": ((0.90, 0.99), (0.90, 0.99)),
    "apart, 0.9": ((0.81, 0.91), (0.88, 0.98)),
}
SHARED_NOISE = 0.5  # part of the noise's variance
SKILLS = np.arange(0.8, 4.61, 0.2)
TRUTH_PATIENTS = 30_000  # of each class, behind every true value


def labels_of(n: int) -> np.ndarray:
    return np.repeat([0, 1, 2], COUNTS[n])


def simulate(labels: np.ndarray, skills: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Logits of K models in R replicates. Shape (K, R, P, 3)."""
    size = (len(skills[0]), len(labels), 3)
    shared = np.sqrt(SHARED_NOISE) * rng.normal(size=size)
    noise = [np.sqrt(1 - SHARED_NOISE) * rng.normal(size=size) for _ in skills]
    return np.stack([k[:, None, None] * np.eye(3)[labels] + shared + own for k, own in zip(skills, noise, strict=True)])


def truth_grid(n: int) -> dict[str, np.ndarray]:
    """Every metric's true value at each of `SKILLS`, with the class counts of ``n`` patients as weights."""
    return {name: values[:, list(COUNTS).index(n)] for name, values in truths().items()}


@cache
def truths() -> dict[str, np.ndarray]:
    """Every metric's true value at each of `SKILLS` (rows), for each of `COUNTS`."""
    labels = np.repeat([0, 1, 2], TRUTH_PATIENTS)
    weights = np.array(list(COUNTS.values()), dtype=float)[:, labels]
    found = defaultdict(list)
    for skill in SKILLS:
        logits = simulate(labels, [np.array([skill])], np.random.default_rng(2))[0, 0]
        for name, value in score(labels, softmax(logits, axis=1), CLASSES, weights).items():
            found[name].append(value)
    return {name: np.array(values) for name, values in found.items()}


def skills_for(ranges: tuple[tuple[float, float], ...], share: np.ndarray) -> list[np.ndarray]:
    """Skills of each model whose recall lies at ``share`` (R,) of its range."""
    recall = truth_grid(30)["recall"]
    return [np.interp(low + (high - low) * share, recall, SKILLS) for low, high in ranges]


def truth_at(n: int, skill: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.interp(skill, SKILLS, values) for name, values in truth_grid(n).items()}
