"""Comparison of many models with one: the tables of `fusionln compare`."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.delong import MACRO, delong
from fusion_ln.evaluation.intervals import ALL_CLASSES, Resampled, align, difference_table, resample
from fusion_ln.evaluation.limits.resampled import MODELS_AT_ONCE
from fusion_ln.evaluation.limits.shares import false_claim
from fusion_ln.evaluation.significance import SWAPPED, all_better, benjamini_hochberg, holm, mcnemar, permutation_test
from fusion_ln.evaluation.swaps import swap_test
from fusion_ln.predictions import Predictions
from fusion_ln.threads import cores, one_blas_thread

# Families of tests, in the column `family` of `Comparison.comparison`; a row of none of them answers no question.
ENDPOINT = "primary"  # the macro AUC of the model of the headline: one test, not corrected
SECONDARY = "secondary"  # the macro AUC of the other models that are asked about: Holm
EXPLORATORY = "exploratory"  # the AUC of single classes: Benjamini-Hochberg
COMPARISON_COLUMNS = [
    "model_a", "model_b", "class", "auc_a", "auc_b", "difference", "ci_low", "ci_high", "bootstrap_p", "delong_z",
    "delong_p", "p", "p_holm", "p_bh", "family",
]  # fmt: skip


@dataclass(frozen=True)
class BetterThanEach:
    """Intersection-union test that a model's macro AUC is above each of several others' (Berger 1982).

    Attributes:
        others: The others, one of which decides: ``weakest``, the one with the largest p-value.
        p: Two-sided p-value of that one; 1 where the model is not ahead of everyone.
        differences: Macro AUC of the model minus that of each other, as in `Comparison.comparison`: ``model_a, model_b,
            auc_a, auc_b, difference, ci_low, ci_high, p``.
    """

    model: str
    others: tuple[str, ...]
    weakest: str
    p: float
    differences: pd.DataFrame


@dataclass(frozen=True)
class Comparison:
    """Every model against the reference, on the same patients and the same bootstrap draws.

    Attributes:
        reference: Name of the model that the others are compared with.
        comparison: AUC differences, see `COMPARISON_COLUMNS`: model_a is compared with model_b, the reference, and
            the difference is a - b. ``p`` is that of `swap_test`, DeLong's ``delong_z, delong_p`` stand beside it for
            comparison with other programs. ``family`` names the family of the row's test; ``p_holm`` corrects over
            `SECONDARY`, ``p_bh`` over `EXPLORATORY`. With two classes the rows of the classes are the test of the
            row `MACRO` once more and in no family.
        models: One row per model, the reference first: ``model, n`` and for every metric ``<metric>, <metric>_low,
            <metric>_high`` (95 % interval), per class as ``<metric>:<class>``.
        differences: Every metric: ``model_a, model_b, metric, class, value_a, value_b, difference, ci_low, ci_high,
            bootstrap_p, permutation_p``.
        tests: McNemar's test of the accuracy of each model that is asked about: ``model_a, model_b, test, class,
            a_alone, b_alone`` (patients whom one model alone recognised) ``, statistic, p, p_holm, false_claim``: the
            probability that a claimed gain is none (see `false_claim`); nothing where none is to be claimed, or where
            patients have several nodes, which are not independent.
        better_than_each: The model of the headline against each of ``alone``; None without both.
    """

    reference: str
    comparison: pd.DataFrame
    models: pd.DataFrame
    differences: pd.DataFrame
    tests: pd.DataFrame
    better_than_each: BetterThanEach | None = None


def compare(
    models: Mapping[str, Predictions],
    reference: str,
    *,
    primary: str | None = None,
    asked: Collection[str] | None = None,
    alone: Sequence[str] = (),
    n_resamples: int = 10_000,
    n_permutations: int = 2000,
    seed: int = 0,
    common_only: bool = False,
) -> Comparison:
    """Compare every model with the reference, paired by patient.

    Args:
        models: Out-of-fold predictions by model name.
        reference: One of the names, chosen without a look at these predictions: the best single modality by inner
            validation.
        primary: The model of the primary endpoint, chosen likewise; None without one.
        asked: The models whose comparison with the reference answers a question; None for all.
        alone: The models that the primary one shall be better than, each of them.
        n_resamples, n_permutations, seed: Of the bootstrap and of the permutation test; an AUC has more of these.
        common_only: Keep the patients that all models have, instead of refusing where they differ.

    Raises:
        PredictionsError: If there is one model only, the reference is none of them, they do not fit together (see
            `align`), or a class has fewer than 2 patients.
    """
    _need_reference(models, reference)
    aligned = align_all(models, reference, common_only=common_only)
    resampled = dict(zip(aligned, resample(list(aligned.values()), n_resamples=n_resamples, seed=seed), strict=True))

    def differ(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        permuted = permutation_test(aligned[name], aligned[reference], n_permutations=n_permutations, seed=seed)
        table = _differences(resampled, name, reference)
        table = table.merge(permuted.drop(columns="difference"), on=["metric", "class"], validate="1:1")
        return table, _auc_rows(table, delong(aligned[name], aligned[reference]))

    others = list(aligned)[1:]
    with one_blas_thread(), ThreadPoolExecutor(min(cores(), len(others), MODELS_AT_ONCE)) as pool:
        differences, parts = zip(*pool.map(differ, others), strict=True)
    rows = pd.concat(parts, ignore_index=True)
    questions = [name for name in others if asked is None or name in asked]
    return Comparison(
        reference=reference,
        comparison=_corrected(rows, primary, questions)[COMPARISON_COLUMNS],
        models=pd.DataFrame([_model_row(name, aligned[name], r) for name, r in resampled.items()]),
        differences=pd.concat(differences, ignore_index=True),
        tests=_accuracy_tests(aligned, reference, questions),
        better_than_each=_better_than_each(
            aligned, resampled, primary, [name for name in alone if name != primary], rows, seed
        ),
    )


def align_all(
    models: Mapping[str, Predictions], reference: str, *, common_only: bool = False
) -> dict[str, Predictions]:
    """Align all models on the same patients, row by row, the reference first (see `align`)."""
    first = models[reference]
    if common_only:
        common = set.intersection(*(set(model.patients) for model in models.values()))
        first = first.of(common)
    aligned = {reference: first}
    for name, model in models.items():
        if name != reference:
            _, aligned[name] = align(first, model, names=(reference, name), common_only=common_only)
    return aligned


def _need_reference(models: Mapping[str, Predictions], reference: str) -> None:
    if len(models) < 2:
        raise PredictionsError(
            f"{len(models)} model was given; a comparison needs at least two.", "Name another run of the same cohort."
        )
    if reference not in models:
        raise PredictionsError(
            f"{reference}: the reference is none of the models given.", f"Choose one of {', '.join(models)}."
        )


def _differences(resampled: Mapping[str, Resampled], a: str, b: str) -> pd.DataFrame:
    """Build the rows of ``differences`` for one pair of models, but for the p-values of permutation."""
    table = difference_table(resampled[a], resampled[b])
    table.insert(0, "model_a", a)
    table.insert(1, "model_b", b)
    return table


def _auc_rows(differences: pd.DataFrame, by_delong: pd.DataFrame) -> pd.DataFrame:
    """Select the rows of ``comparison`` for one pair of models from the table of all metrics."""
    rows = differences[differences["metric"].isin(SWAPPED)].rename(
        columns={"value_a": "auc_a", "value_b": "auc_b", "permutation_p": "p"}
    )
    rows = rows.sort_values("metric", kind="stable")  # the classes, then their mean
    tests = by_delong[["class", "z", "p"]].rename(columns={"z": "delong_z", "p": "delong_p"})
    return rows.replace({"class": {ALL_CLASSES: MACRO}}).merge(tests, on="class", how="left", validate="1:1")


def _corrected(rows: pd.DataFrame, primary: str | None, questions: list[str]) -> pd.DataFrame:
    """Add the family of each row's test, and its p-value corrected within the family."""
    is_macro, is_asked = rows["class"] == MACRO, rows["model_a"].isin(questions)
    several_classes = rows["class"].nunique() > 3  # two and their mean: one test thrice
    families = [
        (ENDPOINT, is_macro & is_asked & (rows["model_a"] == primary)),
        (SECONDARY, is_macro & is_asked & (rows["model_a"] != primary)),
        (EXPLORATORY, ~is_macro & is_asked & several_classes),
    ]
    rows = rows.assign(family=None, p_holm=np.nan, p_bh=np.nan)
    for name, members in families:
        rows.loc[members, "family"] = name
        p_values = rows.loc[members, "p"].to_numpy(dtype=np.float64)
        if name == SECONDARY and len(p_values):
            rows.loc[members, "p_holm"] = holm(p_values)
        if name == EXPLORATORY and len(p_values):
            rows.loc[members, "p_bh"] = benjamini_hochberg(p_values)
    return rows


def _better_than_each(
    aligned: Mapping[str, Predictions],
    resampled: Mapping[str, Resampled],
    primary: str | None,
    others: Sequence[str],
    compared: pd.DataFrame,
    seed: int,
) -> BetterThanEach | None:
    """Test the primary model's macro AUC against each of several others; None without one of these.

    ``compared`` has the rows of ``comparison``: the pair of the primary model and the reference is not tested again.
    """
    if primary is None or not others:
        return None
    parts = []
    for other in others:
        known = compared[(compared["model_a"] == primary) & (compared["model_b"] == other)]
        if known.empty:
            pair = aligned[primary], aligned[other]
            known = _auc_rows(_differences(resampled, primary, other), delong(*pair))
            known["p"] = swap_test(*([model] for model in pair), seed=seed)
        parts.append(known[known["class"] == MACRO])
    rows = pd.concat(parts, ignore_index=True)
    p, decides = all_better(rows["delong_z"].to_numpy(), rows["p"].to_numpy())
    columns = ["model_a", "model_b", "auc_a", "auc_b", "difference", "ci_low", "ci_high", "p"]
    return BetterThanEach(primary, tuple(others), others[int(decides)], float(p), rows[columns])


def _model_row(name: str, predictions: Predictions, resampled: Resampled) -> dict[str, float | int | str]:
    row: dict[str, float | int | str] = {"model": name, "n": len(predictions.labels)}
    low, high = resampled.interval
    for k, metric in enumerate(resampled.names):
        row |= {metric: resampled.value[k], f"{metric}_low": low[k], f"{metric}_high": high[k]}
    return row


def _accuracy_tests(aligned: dict[str, Predictions], reference: str, questions: list[str]) -> pd.DataFrame:
    """Build `Comparison.tests`."""
    results = [mcnemar(aligned[name], aligned[reference]) for name in questions]
    a_alone, b_alone = (np.array([r.table[i][1 - i] for r in results], dtype=np.int64) for i in (0, 1))
    p_values = np.array([result.p for result in results])
    claims = (a_alone > b_alone) & (aligned[reference].clusters is None)
    return pd.DataFrame(
        {
            "model_a": questions,
            "model_b": reference,
            "test": "McNemar",
            "class": ALL_CLASSES,
            "a_alone": a_alone,
            "b_alone": b_alone,
            "statistic": [result.chi2 for result in results],
            "p": p_values,
            "p_holm": holm(p_values) if len(p_values) else p_values,
            "false_claim": np.where(claims, false_claim(a_alone, b_alone), np.nan),
        }
    )
