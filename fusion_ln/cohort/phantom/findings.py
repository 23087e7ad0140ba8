"""Findings of simulated patients: drawn from the phantom's tables, with the exact posterior of the class."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TypeAlias

import numpy as np
import pandas as pd

from fusion_ln.manifests import load_manifest


@dataclass(frozen=True)
class Tables:
    """The phantom's class-conditional tables (``data_manifests/phantom.toml``).

    Attributes:
        classes: Class names; the position is the label.
        prevalence: Share of each class. Shape (C,).
        levels: The levels of each finding.
        shares: P(level | class) of each finding. Shape (C, levels).
        shown: The findings that a picture of each modality shows.
    """

    classes: tuple[str, ...]
    prevalence: np.ndarray
    levels: dict[str, list[str | int]]
    shares: dict[str, np.ndarray]
    shown: dict[str, tuple[str, ...]]

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities of the phantom, in the order in which they are shown."""
        return tuple(self.shown)

    def findings_of(self, modalities: Iterable[str]) -> list[str]:
        """List the findings that pictures of these modalities show together, each named once."""
        return list(dict.fromkeys(name for modality in modalities for name in self.shown[modality]))


@cache
def tables() -> Tables:
    """Read the phantom's tables."""
    manifest = load_manifest("phantom")
    classes = tuple(manifest["classes"])
    prevalence = np.array(manifest["prevalence"], dtype=float)
    findings = manifest["findings"]
    return Tables(
        classes=classes,
        prevalence=prevalence / prevalence.sum(),
        levels={name: table["levels"] for name, table in findings.items()},
        shares={name: np.array([table[each] for each in classes], dtype=float) for name, table in findings.items()},
        shown={modality: tuple(names) for modality, names in manifest["shown"].items()},
    )


def draw_findings(labels: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Draw every finding of patients with these labels. Returns one column per finding, rows as ``labels`` (P,)."""
    known = tables()
    columns = {}
    for name, shares in known.shares.items():
        bounds = shares.cumsum(axis=1)[labels]  # (P, levels)
        level = (rng.random((len(labels), 1)) > bounds[:, :-1]).sum(axis=1)
        columns[name] = np.array(known.levels[name])[level]
    return pd.DataFrame(columns)


def posterior(findings: pd.DataFrame, modalities: Iterable[str], known: Tables | None = None) -> np.ndarray:
    """Compute the exact class probabilities given what pictures of these modalities show.

    Findings are independent given the class, so Bayes' rule is a product over the tables. No modality: the prevalence.

    Args:
        findings: One column per finding, as in a phantom's ``patients``. P rows.
        modalities: Modalities of the pictures that are seen.
        known: The law of the patients; the home hospitals' by default.

    Returns:
        Probabilities, rows summing to 1. Shape (P, C).
    """
    known = known or tables()
    joint = np.tile(known.prevalence, (len(findings), 1))
    for name in known.findings_of(modalities):
        level = pd.Index(known.levels[name]).get_indexer(pd.Index(findings[name]))
        assert (level >= 0).all(), f"{name} holds a level that is not in the tables"
        joint *= known.shares[name].T[level]
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))


def attainable(
    probs: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, known: Tables | None = None
) -> dict[str, float]:
    """Score predictions with ``probs``: ``auc`` (macro one-vs-rest), ``auc_<class>`` and two recalls of each class.

    ``recall_<class>`` is that of the most probable class, ``balanced_recall_<class>`` that of the class whose
    probability most exceeds its prevalence. Neither bounds a model's recall, which moves with what it is willing to
    miss elsewhere; the AUC of exact probabilities is a bound.

    Args:
        probs: Class probabilities. Shape (P, C).
        labels: True class 0..C-1. Shape (P,). A class without patients has no figures, nor part in the macro mean.
        weights: Weight of each row. Shape (P,). All equal by default.
        known: The law of the patients; the home hospitals' by default.
    """
    known = known or tables()
    weights = np.ones(len(labels)) if weights is None else weights
    chosen = {"recall": probs.argmax(axis=1), "balanced_recall": (probs / known.prevalence).argmax(axis=1)}
    held = [label for label in range(probs.shape[1]) if 0 < weights[labels == label].sum() < weights.sum()]
    aucs = {label: _auc(probs[:, label], labels == label, weights) for label in held}
    figures = {"auc": float(np.mean(list(aucs.values())))} if held else {}
    names = known.classes
    figures |= {f"auc_{names[label]}": aucs[label] for label in held}
    for label in held:
        of_class = weights * (labels == label)
        for rule, predicted in chosen.items():
            figures[f"{rule}_{names[label]}"] = float(of_class[predicted == label].sum() / of_class.sum())
    return figures


def attainable_by_tables(
    modalities: Sequence[str], known: Tables | None = None, missing: np.ndarray | None = None
) -> dict[str, float]:
    """Score the exact posterior over all patients that the tables can yield.

    Every combination of levels is visited once with its probability, so there is no sampling error.

    Args:
        modalities: Those that are seen.
        known: The law of the patients; the home hospitals' by default.
        missing: Chance that a picture is missing, by class and modality, see `chances_by_class`; a patient keeps at
            least one. Then only those with a picture of ``modalities`` count, and the posterior is that given the
            findings and which of these pictures there are. None: nobody lacks one. Shape (C, M).
    """
    lacking = None if missing is None else tuple(map(tuple, missing.tolist()))
    if known is None:
        return dict(_attainable_at_home(tuple(modalities), lacking))
    return _attainable(tuple(modalities), known, lacking)


_ByClass: TypeAlias = tuple[tuple[float, ...], ...]  # (C, M), hashable


@cache
def _attainable_at_home(modalities: tuple[str, ...], missing: _ByClass | None) -> dict[str, float]:
    return _attainable(modalities, tables(), missing)


def _attainable(modalities: tuple[str, ...], known: Tables, missing: _ByClass | None) -> dict[str, float]:
    shown: Mapping[tuple[str, ...], np.ndarray] = {modalities: np.ones(len(known.classes))}
    if missing is not None:
        shown = seen_by_class(modalities, known.modalities, np.array(missing))
    parts = [_cells(seen, known, chance) for seen, chance in shown.items()]
    probs, labels, weights = (np.concatenate(each) for each in zip(*parts, strict=True))
    return attainable(probs, labels, weights, known)


def _cells(modalities: Sequence[str], known: Tables, chance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List posterior, class and probability of every combination of the levels that these modalities show.

    ``chance`` is P(these modalities are those that are seen | class), shape (C,).
    """
    names = known.findings_of(modalities)
    cells = pd.DataFrame(list(product(*(known.levels[name] for name in names))), columns=names)
    probs = given_presence(posterior(cells, modalities, known), chance)
    weights = np.tile(chance, (len(cells), 1))  # P(levels, modalities | class)
    for name in names:
        weights *= known.shares[name].T[pd.Index(known.levels[name]).get_indexer(pd.Index(cells[name]))]
    labels = np.tile(np.arange(len(known.classes)), len(cells))
    return np.repeat(probs, len(known.classes), axis=0), labels, (weights * known.prevalence).ravel()


def given_presence(probs: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Update probabilities (P, C) by P(these pictures exist | class), shape (C,)."""
    joint = probs * chance
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))


def seen_by_class(
    asked: Sequence[str], modalities: Sequence[str], missing: np.ndarray
) -> Mapping[tuple[str, ...], np.ndarray]:
    """Compute, by class, the probability of each part of the modalities ``asked`` for that a patient can have.

    Args:
        asked: None of them is no part, so the probabilities of a class may sum to less than 1.
        modalities: All of the phantom.
        missing: See `attainable_by_tables`.

    Returns:
        P(part | class) by part. Shape (C,) each.
    """
    found: dict[tuple[str, ...], np.ndarray] = {}
    for pattern in product((True, False), repeat=len(modalities)):
        chance = np.where(pattern, 1 - missing, missing).prod(axis=1)
        kept = [pattern] if any(pattern) else [tuple(row) for row in np.eye(len(modalities), dtype=bool)]
        for each in kept:
            seen = tuple(name for name, held in zip(modalities, each, strict=True) if held and name in asked)
            if seen:
                found[seen] = found.get(seen, 0.0) + chance / len(kept)
    return {seen: chance for seen, chance in found.items() if chance.any()}


def _auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
    """Compute the weighted AUC, ties counting half."""
    from sklearn.metrics import roc_auc_score  # takes half a second, and most readers of a truth ask for no AUC

    # Equal posteriors reached by different products differ in the last bits: rounding makes them ties again.
    return float(roc_auc_score(positive, scores.round(12), sample_weight=weights))
