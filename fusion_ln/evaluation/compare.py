"""Comparison of many models with one: the tables of `fusionln compare`."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.delong import delong
from fusion_ln.evaluation.intervals import ALL_CLASSES, Resampled, align, difference_table, resample
from fusion_ln.evaluation.significance import benjamini_hochberg, holm, mcnemar, permutation_test
from fusion_ln.metrics import PRIMARY
from fusion_ln.predictions import Predictions

MACRO = "macro"  # the class of a row on the mean of the one-vs-rest AUCs
FAMILY = (
    "every row of the table: each model against the reference, by the AUC of each class (DeLong's p-value) "
    "and by their mean (bootstrap p-value)"
)
COMPARISON_COLUMNS = [
    "model_a", "model_b", "class", "auc_a", "auc_b", "difference", "ci_low", "ci_high", "bootstrap_p", "delong_z",
    "delong_p", "p_holm",
]  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Every model against the reference, on the same patients and the same bootstrap draws.

    Attributes:
        reference: Name of the model that the others are compared with.
        comparison: AUC differences, see `COMPARISON_COLUMNS`: model_a is compared with model_b, the reference, and
            the difference is a - b. DeLong's columns are None in the row `MACRO`. p_holm corrects over `FAMILY`.
        models: One row per model, the reference first: ``model, n`` and for every metric ``<metric>, <metric>_low,
            <metric>_high`` (95 % BCa interval), per class as ``<metric>:<class>``.
        differences: Every metric: ``model_a, model_b, metric, class, value_a, value_b, difference, ci_low, ci_high,
            bca_low, bca_high, bootstrap_p, permutation_p``.
        tests: ``model_a, model_b, test, class, statistic, p, p_holm, p_bh``: the family of ``comparison`` under both
            corrections, then McNemar's test and the permutation test of the mean AUC, each a family over the models.
    """

    reference: str
    comparison: pd.DataFrame
    models: pd.DataFrame
    differences: pd.DataFrame
    tests: pd.DataFrame


def compare(
    models: Mapping[str, Predictions],
    reference: str,
    *,
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
        n_resamples, n_permutations, seed: Of the bootstrap and of the permutation test.
        common_only: Keep the patients that all models have, instead of refusing where they differ.

    Raises:
        PredictionsError: If there is one model only, the reference is none of them, they do not fit together (see
            `align`), or a class has fewer than 2 patients.
    """
    _need_reference(models, reference)
    aligned = align_all(models, reference, common_only=common_only)
    resampled = dict(zip(aligned, resample(list(aligned.values()), n_resamples=n_resamples, seed=seed), strict=True))
    differences, rows = [], []
    for name in list(aligned)[1:]:
        table = difference_table(resampled[name], resampled[reference])
        permuted = permutation_test(aligned[name], aligned[reference], n_permutations=n_permutations, seed=seed)
        table = table.merge(permuted.drop(columns="difference"), on=["metric", "class"], validate="1:1")
        table.insert(0, "model_a", name)
        table.insert(1, "model_b", reference)
        differences.append(table)
        rows.append(_auc_rows(table, delong(aligned[name], aligned[reference])))
    comparison = pd.concat(rows, ignore_index=True)
    comparison["p_holm"] = holm(_family(comparison))
    all_differences = pd.concat(differences, ignore_index=True)
    return Comparison(
        reference=reference,
        comparison=comparison[COMPARISON_COLUMNS],
        models=pd.DataFrame([_model_row(name, aligned[name], r) for name, r in resampled.items()]),
        differences=all_differences,
        tests=_tests(aligned, reference, comparison, all_differences),
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


def _auc_rows(differences: pd.DataFrame, by_delong: pd.DataFrame) -> pd.DataFrame:
    """Select the rows of ``comparison`` for one pair of models from the table of all metrics."""
    rows = differences[differences["metric"].isin(["auc", PRIMARY])].rename(
        columns={"value_a": "auc_a", "value_b": "auc_b"}
    )
    rows = rows.sort_values("metric", kind="stable")  # the classes, then their mean
    tests = by_delong[["class", "z", "p"]].rename(columns={"z": "delong_z", "p": "delong_p"})
    rows = rows.merge(tests, on="class", how="left", validate="1:1").replace({"class": {ALL_CLASSES: MACRO}})
    is_macro = rows["class"] == MACRO
    for column in ("delong_z", "delong_p"):
        rows[column] = rows[column].astype(object).mask(is_macro, None)
    return rows


def _family(comparison: pd.DataFrame) -> np.ndarray:
    """Select the p-values of `FAMILY`, row by row."""
    family: np.ndarray = comparison["delong_p"].fillna(comparison["bootstrap_p"]).to_numpy(dtype=np.float64)
    return family


def _model_row(name: str, predictions: Predictions, resampled: Resampled) -> dict[str, float | int | str]:
    row: dict[str, float | int | str] = {"model": name, "n": len(predictions.labels)}
    low, high = resampled.bca_interval()
    for k, metric in enumerate(resampled.names):
        row |= {metric: resampled.value[k], f"{metric}_low": low[k], f"{metric}_high": high[k]}
    return row


def _tests(
    aligned: dict[str, Predictions], reference: str, comparison: pd.DataFrame, differences: pd.DataFrame
) -> pd.DataFrame:
    """Build `Comparison.tests`."""
    is_macro = comparison["class"] == MACRO
    auc = comparison[["model_a", "model_b", "class"]].assign(
        test=np.where(is_macro, "bootstrap", "DeLong"), statistic=comparison["delong_z"], p=_family(comparison)
    )
    others = [name for name in aligned if name != reference]
    results = [mcnemar(aligned[name], aligned[reference]) for name in others]
    accuracy = pd.DataFrame(
        {
            "model_a": others,
            "model_b": reference,
            "class": ALL_CLASSES,
            "test": "McNemar",
            "statistic": [result.chi2 for result in results],
            "p": [result.p for result in results],
        }
    )
    permuted = differences.loc[differences["metric"] == PRIMARY, ["model_a", "model_b"]].assign(
        **{"class": MACRO, "test": "permutation", "statistic": None},
        p=differences.loc[differences["metric"] == PRIMARY, "permutation_p"],
    )
    families = [
        family.assign(p_holm=holm(family["p"].to_numpy()), p_bh=benjamini_hochberg(family["p"].to_numpy()))
        for family in (auc, accuracy, permuted)
    ]
    columns = ["model_a", "model_b", "test", "class", "statistic", "p", "p_holm", "p_bh"]
    return pd.concat([family[columns].astype({"statistic": object}) for family in families], ignore_index=True)
