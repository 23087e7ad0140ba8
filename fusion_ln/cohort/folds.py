"""Outer folds and, within each fold's training part, the inner validation patients: drawn once, then only read."""

import numpy as np
import pandas as pd

from fusion_ln.errors import CohortError
from fusion_ln.terms import FOLD, INNER, LABEL, PATIENT, SITE, UNUSED
from fusion_ln.units import owners_of

INNER_SHARE = 0.15


def draw_folds(
    patients: pd.DataFrame, *, k: int = 5, by_site: bool = False, seed: int = 0, classes: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Assign every patient to one outer fold, and to the inner validation set of some of the others.

    The nodes of a patient stay together.

    Args:
        patients: One row per patient, or node, with ``patient_id``, ``label`` and, with ``by_site``, ``site``.
        k: Number of outer folds, stratified by label; not used with ``by_site``, where each site is one fold.
        seed: Same seed and same patients, same folds.
        classes: Names of the labels, for messages.

    Returns:
        Columns ``patient_id``, ``fold`` and, for each outer fold f, ``inner_<f>`` (bool): true for about
        15 % of each class of its training part, at least one patient; false for all held-out patients.

    Raises:
        CohortError: If a class has fewer patients than there are folds, or is absent from a training part.
    """
    patients = patients.sort_values(PATIENT, ignore_index=True)
    labels, owners = patients[LABEL].to_numpy(), owners_of(patients[PATIENT])
    fold = _site_folds(patients, classes, owners) if by_site else _stratified_folds(labels, k, seed, classes, owners)
    table = pd.DataFrame({PATIENT: patients[PATIENT], FOLD: fold})
    for held_out in range(int(fold.max()) + 1):
        rng = np.random.default_rng([seed, held_out])
        inner = _share(labels, fold != held_out, INNER_SHARE, rng, owners)
        if owners is not None:
            _refuse_missing_classes(
                labels, (fold != held_out) & ~inner, f"the training part of fold {held_out}", classes
            )
        table[f"{INNER}{held_out}"] = inner
    return table


def folds_origin(k: int, by_site: bool, seed: int) -> str:
    """Name the rule by which folds are drawn, for the cohort's details."""
    return "one per site" if by_site else f"{k}, stratified by label, seed {seed}"


def _stratified_folds(
    labels: np.ndarray, k: int, seed: int, classes: tuple[str, ...], owners: np.ndarray | None
) -> np.ndarray:
    if k < 2:
        raise CohortError(f"{k} folds were asked for; at least 2 are needed.")
    of_patients = labels if owners is None else np.unique(np.stack([labels, owners]), axis=1)[0]
    for label, count in enumerate(np.bincount(of_patients, minlength=len(classes))):
        if count < k:
            patients = "1 patient" if count == 1 else f"{count} patients"
            fewer = f", or draw fewer folds (`--folds {count}`)" if count > 1 else ""
            raise CohortError(
                f"class {_name(label, classes)!r} has {patients}, fewer than the {k} folds.",
                f"Add patients, leave the class out{fewer}.",
            )
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # slow to import; folds are mostly read

    fold = np.empty(len(labels), dtype=np.int64)
    splitter = (StratifiedKFold if owners is None else StratifiedGroupKFold)(k, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(splitter.split(labels, labels, owners)):
        fold[held_out] = number
    for number in range(k) if owners is not None else ():
        _refuse_missing_classes(labels, fold == number, f"fold {number}", classes)
    return fold


def _refuse_missing_classes(labels: np.ndarray, chosen: np.ndarray, part: str, classes: tuple[str, ...]) -> None:
    """Refuse a part, bool (P,), without a node of some class, which may happen where whole patients are dealt."""
    for label in np.unique(labels):
        if not (labels[chosen] == label).any():
            raise CohortError(
                f"class {_name(label, classes)!r} has no node in {part}: its nodes lie in too few patients.",
                "Draw fewer folds (`--folds`), or other ones (`--seed`).",
            )


def _site_folds(patients: pd.DataFrame, classes: tuple[str, ...], owners: np.ndarray | None) -> np.ndarray:
    sites, fold = np.unique(patients[SITE].astype(str), return_inverse=True)
    if len(sites) < 2:
        raise CohortError(
            f"`--folds site` needs at least two sites; the cohort names {', '.join(filter(None, sites)) or 'none'}.",
            "Draw stratified folds instead (`--folds 5`).",
        )
    labels = patients[LABEL].to_numpy()
    for number, site in enumerate(sites):
        for label in np.unique(labels):
            outside = np.flatnonzero((fold != number) & (labels == label))
            if len(outside if owners is None else np.unique(owners[outside])) < 2:
                raise CohortError(
                    f"class {_name(label, classes)!r} has fewer than 2 patients outside site {site!r}.",
                    "Draw stratified folds instead (`--folds 5`).",
                )
    return fold.astype(np.int64)


def draw_parts(patients: pd.DataFrame, k: int, seed: int, classes: tuple[str, ...]) -> np.ndarray:
    """Deal patients into k parts, stratified by label. Returns the part of each patient, shape (P,).

    Raises:
        CohortError: If a class has fewer than k patients.
    """
    return _stratified_folds(patients[LABEL].to_numpy(), k, seed, classes, owners_of(patients[PATIENT]))


def draw_share(patients: pd.DataFrame, share: float, seed: int) -> np.ndarray:
    """Choose this share of each class, at least one patient of it, but none of a class of one. Bool, shape (P,)."""
    labels = patients[LABEL].to_numpy()
    everyone = np.ones(len(labels), dtype=bool)
    return _share(labels, everyone, share, np.random.default_rng(seed), owners_of(patients[PATIENT]))


def mark_unused(folds: pd.DataFrame, labels: pd.Series, fraction: float) -> pd.DataFrame:
    """Add the columns ``unused_<f>`` (bool): training and inner validation patients that fold f does without.

    Of each class a fold keeps ``fraction`` of either part, at least one patient; what a smaller fraction keeps, a
    larger one keeps, too. Held-out patients stay.

    Args:
        folds: See `draw_folds`.
        labels: Label by patient.
        fraction: From 0, not included, to 1.
    """
    table = folds.copy()
    known = labels.loc[folds[PATIENT]].to_numpy()
    for fold in range(int(folds[FOLD].max()) + 1):
        rng = np.random.default_rng(fold)
        inner, unused = folds[f"{INNER}{fold}"].to_numpy(), np.zeros(len(folds), dtype=bool)
        for part in (inner, ~inner & (folds[FOLD] != fold).to_numpy()):
            for label in np.unique(known):
                members = rng.permutation(np.flatnonzero(part & (known == label)))
                unused[members[max(1, round(fraction * len(members))) :]] = True
        table[f"{UNUSED}{fold}"] = unused
    return table


def _share(
    labels: np.ndarray, among: np.ndarray, share: float, rng: np.random.Generator, owners: np.ndarray | None
) -> np.ndarray:
    chosen = np.zeros(len(labels), dtype=bool)
    if owners is not None:
        return np.isin(owners, _share_of_patients(labels[among], share, rng, owners[among]))
    for label in np.unique(labels):
        members = np.flatnonzero(among & (labels == label))
        if len(members) > 1:  # a class of one patient stays in training
            chosen[rng.choice(members, max(1, round(share * len(members))), replace=False)] = True
    return chosen


def _share_of_patients(labels: np.ndarray, share: float, rng: np.random.Generator, owners: np.ndarray) -> list[int]:
    """Choose patients until this share of those with each class is among them, the rarest class first."""
    chosen: list[int] = []
    for label in np.argsort(np.bincount(labels), kind="stable"):
        members = np.unique(owners[labels == label])
        missing = max(1, round(share * len(members))) - int(np.isin(members, chosen).sum())
        if len(members) > 1 and missing > 0:
            chosen += rng.choice(np.setdiff1d(members, chosen), missing, replace=False).tolist()
    return chosen


def _name(label: int, classes: tuple[str, ...]) -> str:
    return classes[label] if label < len(classes) else str(label)
