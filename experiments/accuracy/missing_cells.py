"""Cells of `missing.py`: attained and attainable AUC of every head, by pattern in training and at test."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from missing_masks import Pattern

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.phantom.findings import attainable, given_presence, posterior, seen_by_class, tables
from fusion_ln.cohort.phantom.patients import chances_by_class
from fusion_ln.predictions import softmax
from fusion_ln.terms import LABEL, subsets

N_RESAMPLES = 1000


class Exam:
    """Fresh complete patients under one pattern at test: each row is a patient seen in one subset of the modalities.

    Attributes:
        labels: Class of each row. Shape (S * P,).
        weights: Chance of the subset, given the class. Shape (S * P,).
        ceiling: AUC of the exact posterior on these rows, which knows which pictures there are.
    """

    def __init__(self, fresh: Cohort, pattern: Pattern) -> None:
        modalities, labels = tables().modalities, fresh.patients[LABEL].to_numpy()
        chances = seen_by_class(modalities, modalities, chances_by_class(pattern.missing, pattern.link))
        none = np.zeros(len(tables().classes))
        by_subset = [chances.get(subset, none) for subset in subsets(modalities).values()]
        self.n_patients, self.of_patients = len(labels), labels
        self.labels = np.tile(labels, len(by_subset))
        self.weights = np.concatenate([chance[labels] for chance in by_subset])
        self.rows = self.weights > 0
        exact = [
            given_presence(posterior(fresh.patients, subset), np.maximum(chance, 1e-300))
            for subset, chance in zip(subsets(modalities).values(), by_subset, strict=True)
        ]
        self.ceiling = self.score(np.concatenate(exact))

    def score(self, probs: np.ndarray) -> float:
        """Score exact probabilities (S * P, C), which hold ties."""
        return attainable(probs[self.rows], self.labels[self.rows], self.weights[self.rows])["auc"]

    def score_folds(self, logits: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
        """Score every fold's model; logits of patients hardly tie.

        Args:
            logits: Shape (K, S, P, C).
            counts: How often each of R resamples drew a patient; None: each once. Shape (R, P).

        Returns:
            Macro AUC, shape (K,), or (R, K) of resamples.
        """
        n_classes = logits.shape[-1]
        drawn = np.ones((1, self.n_patients)) if counts is None else counts
        weights = (np.tile(drawn, (1, len(self.labels) // self.n_patients)) * self.weights)[:, self.rows]  # (R, rows)
        labels, scores = self.labels[self.rows], []
        for fold in logits:
            probs = softmax(fold.reshape(-1, n_classes))[self.rows]
            scores.append(np.mean([weighted_auc(probs[:, c], labels == c, weights) for c in range(n_classes)], axis=0))
        found = np.stack(scores, axis=1)
        return found[0] if counts is None else found

    def compare(self, logits: list[np.ndarray], others: list[np.ndarray]) -> tuple[float, float, float]:
        """Compare the mean AUC of heads, each of several seeds, with a 95 % interval for other patients at test."""
        rng, counts = np.random.default_rng(0), np.zeros((N_RESAMPLES, self.n_patients))
        for label in np.unique(self.of_patients):
            rows = np.flatnonzero(self.of_patients == label)
            counts[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=N_RESAMPLES)

        def gains(drawn: np.ndarray | None) -> np.ndarray:
            pairs = zip(logits, others, strict=True)
            differences = [self.score_folds(one, drawn) - self.score_folds(two, drawn) for one, two in pairs]
            return np.asarray(np.mean(differences, axis=0).mean(axis=-1))

        low, high = np.percentile(gains(counts), [2.5, 97.5])
        return float(gains(None)), float(low), float(high)


def weighted_auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the AUC of scores (n,) without ties, under each of R rows of weights (R, n). Shape (R,)."""
    order = np.argsort(scores)
    of_positive, of_negative = (weights[:, order] * held for held in (positive[order], ~positive[order]))
    below = of_negative.cumsum(axis=1)
    return np.asarray((of_positive * below).sum(axis=1) / (of_positive.sum(axis=1) * below[:, -1]))


def tabulate(
    answers: Mapping[tuple[Pattern, int], Mapping[str, np.ndarray]], fresh: Cohort, broken: tuple[int, ...]
) -> pd.DataFrame:
    """List the AUC of every head in every cell: ``kind, trained, tested, head, seeds, auc, ceiling, attained``."""
    rows: list[dict[str, object]] = []
    kinds = ("random", "linked", *tables().modalities)
    exams = {(kind, share): Exam(fresh, Pattern(kind, share)) for kind in kinds for share in (0, *broken)}
    for kind in kinds:
        for trained in (0, *broken):
            of_kind = Pattern(kind if trained else "random", trained)
            seeds = [each for (pattern, _), each in answers.items() if pattern == of_kind]
            for head in dict.fromkeys(head for each in seeds for head in each):
                held = [each[head] for each in seeds if head in each]
                for tested in (0, *broken):
                    exam = exams[kind, tested]
                    auc = float(np.mean([exam.score_folds(logits).mean() for logits in held]))
                    rows.append(
                        {"kind": kind, "trained": trained, "tested": tested, "head": head, "seeds": len(held)}
                        | {"auc": auc, "ceiling": exam.ceiling, "attained": auc / exam.ceiling}
                    )
    return pd.DataFrame(rows)
