"""Simulated patients before any picture is drawn: label, site, clinical columns, findings, missing pictures."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fusion_ln.cohort.phantom.findings import Tables, draw_findings, tables
from fusion_ln.manifests import load_manifest
from fusion_ln.terms import LABEL, PATIENT, SITE


def draw_patients(n: int, sites: Sequence[str], rng: np.random.Generator, known: Tables | None = None) -> pd.DataFrame:
    """Draw the table of patients: label, site, clinical columns and findings.

    Labels come in the proportions of the law ``known``, by default the paper's.
    """
    # Class c gets the patients whose middle falls into its part of the unit interval: counts within one of n * share.
    bounds = (known or tables()).prevalence.cumsum()[:-1]
    labels = rng.permutation(np.searchsorted(bounds, (np.arange(n) + 0.5) / n))
    digits = max(4, len(str(n)))
    named = pd.DataFrame(
        {
            PATIENT: [f"P{number:0{digits}d}" for number in range(1, n + 1)],
            LABEL: labels.astype(np.int64),
            SITE: rng.permutation(np.resize(np.array(sites, dtype=object), n)),
        }
    )
    findings = draw_findings(labels, rng)
    return pd.concat([named, _draw_clinical(labels, rng), draw_axes(findings, rng), findings], axis=1)


def _draw_clinical(labels: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    clinical = load_manifest("phantom")["clinical"]
    mean_age = np.array([clinical["age_mean"][name] for name in tables().classes])[labels]
    ages = rng.normal(mean_age, clinical["age_sd"]).clip(18, 90).round().astype(np.int64)
    male, smoker = rng.random((2, len(labels)))
    return pd.DataFrame(
        {
            "age": ages,
            "sex": np.where(male < clinical["male_share"], "male", "female"),
            "smoking": np.where(smoker < clinical["smoker_share"], "yes", "no"),
        }
    )


def draw_axes(findings: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the long and the short axis: their ratio by the shape, their product by chance alone."""
    node = load_manifest("phantom")["node"]
    low, high = np.array([node["ratio"][shape] for shape in findings["shape"]]).T
    smallest, largest = node["mean_diameter_mm"]
    ratio, diameter = rng.uniform(low, high), rng.uniform(smallest, largest, len(findings))
    axes = {"long_axis_mm": diameter * np.sqrt(ratio), "short_axis_mm": diameter / np.sqrt(ratio)}
    return pd.DataFrame(axes).round(1)


def draw_present(
    labels: np.ndarray, missing: float | Sequence[float], link: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw the presence mask: every picture is missing by `chances_by_class`, but a patient keeps at least one.

    Returns:
        bool, shape (P, M).
    """
    n, n_modalities = len(labels), len(tables().modalities)
    present: np.ndarray = rng.random((n, n_modalities)) >= chances_by_class(missing, link)[labels]
    kept = rng.integers(n_modalities, size=n)
    empty = np.flatnonzero(~present.any(axis=1))
    present[empty, kept[empty]] = True
    return present


def chances_by_class(missing: float | Sequence[float], link: float = 0.0) -> np.ndarray:
    """Compute the chance that a picture is missing, by class and modality. Shape (C, M).

    It is ``missing``, one for all modalities or one for each. With a ``link`` it falls from the first class,
    ``missing * (1 + link)``, to the last, ``missing * (1 - link)``: benign nodes get the shortest examination.
    """
    slope = np.linspace(1, -1, len(tables().classes))
    each = np.broadcast_to(np.asarray(missing, dtype=float), (len(tables().modalities),))
    return np.asarray(each * (1 + link * slope)[:, None])
