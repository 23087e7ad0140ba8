"""Tables of the modalities' contributions; on a phantom beside those of the exact posterior."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch

from fusion_ln.cohort.phantom.truth import SUBSET, Truth
from fusion_ln.evaluation.shapley import Coalition, coalitions, interactions, shapley_values
from fusion_ln.explain.held_out import HeldOut
from fusion_ln.explain.network import Case, Explained
from fusion_ln.progress import progress
from fusion_ln.terms import FOLD, LABEL, MODALITY, PATIENT, PROB

Values = dict[Coalition, np.ndarray]


def contributions(held_out: HeldOut, patients: Sequence[str], truth: Truth | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compute Shapley values of all modalities and interactions of all pairs, for every class.

    Args:
        held_out: Models and patients.
        patients: Patients of the run.
        truth: Truth of a phantom cohort.

    Returns:
        ``patient_id, fold, label, class, modality, present, contribution, prior, prob`` and ``patient_id, class, pair,
        interaction``, sorted by patient; with ``truth`` both also ``exact``.
    """
    priors = [held_out.prior(fold) for fold in range(held_out.cohort.n_folds)]
    shares, pairs = [], []
    with progress("Contributions", len(patients)) as step:
        for patient in sorted(patients, key=held_out.fold):
            fold, case = held_out.fold(patient), held_out.case(patient)
            values = coalition_values(held_out.explained(fold), case, priors[fold])
            exact = _exact(held_out, patient, case, truth) if truth else None
            shares += list(_shares(held_out, patient, case, values, exact))
            pairs += list(_pairs(held_out, patient, values, exact))
            step(patient)
    first, second = (
        pd.DataFrame(rows).sort_values(PATIENT, ignore_index=True, kind="stable") for rows in (shares, pairs)
    )
    return first, second


def coalition_values(explained: Explained, case: Case, prior: np.ndarray) -> Values:
    """Compute the probabilities (C,) of a patient for every subset of the modalities.

    An absent modality changes nothing. The empty subset has the probabilities ``prior``, the share of each class among
    the training patients.
    """
    n = case.present.shape[1]
    present = {chosen: tuple(m for m in chosen if m in case.modalities) for chosen in coalitions(n)}
    subsets = [subset for subset in dict.fromkeys(present.values()) if subset]
    masks = torch.tensor([[m in subset for m in range(n)] for subset in subsets])
    probs = explained.probs_of(case, case.present & masks[..., None]).numpy()
    values = {(): prior, **dict(zip(subsets, probs, strict=True))}
    return {chosen: values[subset] for chosen, subset in present.items()}


def _exact(held_out: HeldOut, patient: str, case: Case, truth: Truth) -> Values:
    """Look up the probabilities (C,) of the exact posterior for every subset of the modalities."""
    rows = truth.posteriors[truth.posteriors[PATIENT] == patient].set_index(SUBSET)
    posteriors = rows[[PROB + name for name in held_out.classes]]
    values = {}
    for chosen in coalitions(len(held_out.modalities)):
        present = {held_out.modalities[m] for m in chosen if m in case.modalities}
        name = "+".join(m for m in held_out.cohort.modalities if m in present)
        values[chosen] = posteriors.loc[name].to_numpy(dtype=float)
    return values


def _shares(
    held_out: HeldOut, patient: str, case: Case, values: Values, exact: Values | None
) -> Iterator[dict[str, object]]:
    shares, true = shapley_values(values), shapley_values(exact) if exact else None
    everything = tuple(range(len(held_out.modalities)))
    for c, name in enumerate(held_out.classes):
        for m, modality in enumerate(held_out.modalities):
            row = {PATIENT: patient, FOLD: held_out.fold(patient), LABEL: held_out.label(patient)}
            row |= {"class": name, MODALITY: modality, "present": m in case.modalities}
            row |= {"contribution": shares[m, c], "prior": values[()][c], "prob": values[everything][c]}
            yield row if true is None else {**row, "exact": true[m, c]}


def _pairs(held_out: HeldOut, patient: str, values: Values, exact: Values | None) -> Iterator[dict[str, object]]:
    true = interactions(exact) if exact else None
    for (a, b), interaction in interactions(values).items():
        for c, name in enumerate(held_out.classes):
            pair = f"{held_out.modalities[a]}+{held_out.modalities[b]}"
            row = {PATIENT: patient, "class": name, "pair": pair, "interaction": interaction[c]}
            yield row if true is None else {**row, "exact": true[a, b][c]}
