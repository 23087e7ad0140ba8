"""Gain from starting weights: each modality's baselines from two starts, on the same patients, folds and seeds."""

from collections.abc import Iterator
from dataclasses import dataclass

from fusion_ln.errors import RunError
from fusion_ln.evaluation.intervals import align, difference_table, mean_of, resample
from fusion_ln.evaluation.swaps import swap_test
from fusion_ln.metrics import PRIMARY
from fusion_ln.predictions import Predictions


@dataclass(frozen=True)
class Baseline:
    """Predictions of one modality's network, with the settings that it was trained with.

    Attributes:
        others: Every other setting: equal in two starts that are compared.
    """

    backbone: str
    modality: str
    weights: str
    seed: int
    others: tuple[tuple[str, object], ...]
    predictions: Predictions


@dataclass(frozen=True)
class GainOfStart:
    """Gain of a start over the reference's for one modality: a row of the table.

    Attributes:
        auc, auc_reference: Mean over the seeds of the macro one-vs-rest AUC.
        ci_low, ci_high: Ends of the difference's 95 % interval.
        p: Of the difference (`swap_test`), not corrected.
        by_seed: The difference of each seed.
    """

    backbone: str
    modality: str
    weights: str
    reference: str
    auc: float
    auc_reference: float
    difference: float
    ci_low: float
    ci_high: float
    p: float
    patients: int
    by_seed: tuple[float, ...]


def compare_weights(baselines: list[Baseline], *, n_resamples: int = 2000) -> list[GainOfStart]:
    """Compare the baselines of every start with those of the first one's.

    Returns:
        One gain per backbone, modality and start other than the first's.

    Raises:
        RunError: If the baselines of two starts differ in seeds or in more than their weights.
        PredictionsError: If their patients or folds differ.
    """
    reference = baselines[0].weights
    gains = []
    for (backbone, modality, weights), own, other in _pair(baselines, reference):
        arms = [arm.predictions for pair in zip(own, other, strict=True) for arm in pair]
        aligned = [arms[0], *(align(arms[0], arm)[1] for arm in arms[1:])]
        resampled = resample(aligned, n_resamples=n_resamples, seed=0)
        means = difference_table(mean_of(resampled[::2]), mean_of(resampled[1::2]))
        row = means[means["metric"] == PRIMARY].iloc[0]
        place = resampled[0].names.index(PRIMARY)
        by_seed = tuple(float(a.minus(b).value[place]) for a, b in zip(resampled[::2], resampled[1::2], strict=True))
        gains.append(
            GainOfStart(
                backbone=backbone,
                modality=modality,
                weights=weights,
                reference=reference,
                auc=float(row["value_a"]),
                auc_reference=float(row["value_b"]),
                difference=float(row["difference"]),
                ci_low=float(row["ci_low"]),
                ci_high=float(row["ci_high"]),
                p=float(swap_test(aligned[::2], aligned[1::2])[-1]),
                patients=len(arms[0].table),
                by_seed=by_seed,
            )
        )
    return gains


def _pair(
    baselines: list[Baseline], reference: str
) -> Iterator[tuple[tuple[str, str, str], list[Baseline], list[Baseline]]]:
    """Pair each start's baselines of a backbone and modality with the reference's, both by seed."""
    groups: dict[tuple[str, str, str], list[Baseline]] = {}
    for each in sorted(baselines, key=lambda each: each.seed):
        groups.setdefault((each.backbone, each.modality, each.weights), []).append(each)
    order = dict.fromkeys((each.backbone, each.modality, each.weights) for each in baselines)
    for key in order:
        if key[2] == reference:
            continue
        own, other = groups[key], groups.get((*key[:2], reference), [])
        if [(b.seed, b.others) for b in own] != [(b.seed, b.others) for b in other]:
            raise RunError(
                f"{key[1]}: the baselines from {key[2]} and from {reference} differ in more than their weights.",
                "Run both with the same settings and seeds.",
            )
        yield key, own, other
