"""Ground truth of a phantom cohort: outlines, marks, exact posteriors, and the AUC that they allow."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.head import Attainable
from fusion_ln.cohort.phantom.findings import (
    Tables,
    attainable,
    attainable_by_tables,
    given_presence,
    posterior,
    seen_by_class,
    tables,
)
from fusion_ln.cohort.phantom.render import Picture
from fusion_ln.decode.stored import load_table
from fusion_ln.errors import CohortError
from fusion_ln.terms import LABEL, PATIENT, PROB, subsets

SUBSET = "subset"  # column of the posteriors: names of modalities joined by +; empty: no picture seen
NO_MODALITY = ""
TRUTH_FILE, POSTERIORS_FILE = "truth.parquet", "posteriors.parquet"
LISTS = ("outline_x", "outline_y", "marks")  # columns of the truth that hold a list a picture

Row: TypeAlias = dict[str, object]  # of a table, by column


@dataclass(frozen=True)
class Truth:
    """Ground truth of a phantom cohort; the findings are columns of the cohort's ``patients``.

    Attributes:
        pictures: One row per picture, in the order of the cohort's ``images``: ``image_id, patient_id, modality``,
            the node's ellipse in pixels (``node_x, node_y, node_semi_long, node_semi_short``, ``node_angle`` in
            degrees, clockwise from the horizontal to the long axis), its outline (``outline_x``, ``outline_y``:
            lists of points), and its burned-in marks (``marks``: list of ``name, left, top, right, bottom``).
            The mark named ``stamp`` is the planted shortcut.
        posteriors: ``patient_id, subset, prob_<class>...``: the exact posterior given the findings that the modalities
            of ``subset`` show (names joined by ``+``), whether or not the patient has those pictures; subset
            ``""`` is the prevalence.
    """

    pictures: pd.DataFrame
    posteriors: pd.DataFrame


def load_truth(cohort: Cohort) -> Truth:
    """Read the ground truth of a phantom cohort.

    Raises:
        CohortError: If the cohort is not a phantom, or its files were taken away.
    """
    paths = [cohort.pictures / TRUTH_FILE, cohort.pictures / POSTERIORS_FILE]
    if not cohort.simulated or not all(path.is_file() for path in paths):
        raise CohortError(
            f"cohort {cohort.name}: the true outlines and posteriors are known for phantom cohorts only.",
            "Make one with `fusionln cohort phantom --out DIR`.",
        )
    try:
        return Truth(load_table(paths[0], lists=LISTS), load_table(paths[1]))
    except ValueError as error:
        names = " or ".join(str(path) for path in paths)
        raise CohortError(f"{names}: {error}.", "Simulate the cohort again, with another `--out DIR`.") from None


def posterior_table(patients: pd.DataFrame, known: Tables | None = None) -> pd.DataFrame:
    """Tabulate the exact posterior of every patient given each subset of the modalities; see `Truth`."""
    columns = [f"{PROB}{name}" for name in tables().classes]
    parts = []
    for name, subset in {NO_MODALITY: (), **subsets(tables().modalities)}.items():
        part = pd.DataFrame(posterior(patients, subset, known), columns=columns)
        part.insert(0, SUBSET, name)
        part.insert(0, PATIENT, patients[PATIENT])
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def attainable_of(
    patients: pd.DataFrame, present: np.ndarray, known: Tables | None = None, missing: np.ndarray | None = None
) -> Attainable:
    """Score the exact posterior over all patients that the tables can yield, and over those of a cohort.

    See `attainable_by_tables` and `attainable_by_cohort`.
    """
    by_tables = {
        name: attainable_by_tables(subset, known, missing) for name, subset in subsets(tables().modalities).items()
    }
    return Attainable(tables=by_tables, cohort=attainable_by_cohort(patients, present, known, missing))


def attainable_by_cohort(
    patients: pd.DataFrame, present: np.ndarray, known: Tables | None = None, missing: np.ndarray | None = None
) -> dict[str, dict[str, float]]:
    """Score the exact posterior on these patients, by subset of the modalities.

    Each patient is seen in those pictures of the subset that exist.

    Args:
        patients: The phantom's table of patients. P rows.
        present: Presence mask. bool, shape (P, M).
        known: The law of the patients; the home hospitals' by default.
        missing: Chance that a picture is missing, by class and modality: the posterior then knows which of the
            subset's pictures there are. None: it does not go with the class. Shape (C, M).
    """
    figures, modalities = {}, tables().modalities
    for name, subset in subsets(modalities).items():
        seen = present & np.isin(modalities, subset)
        chances = None if missing is None else seen_by_class(subset, modalities, missing)
        probs = np.empty((len(patients), len(tables().classes)))
        with_picture = seen.any(axis=1)
        for pattern in np.unique(seen[with_picture], axis=0):
            rows, held = (seen == pattern).all(axis=1), tuple(np.array(modalities)[pattern].tolist())
            probs[rows] = posterior(patients[rows], held, known)
            if chances is not None:
                probs[rows] = given_presence(probs[rows], chances[held])
        figures[name] = attainable(probs[with_picture], patients[LABEL].to_numpy()[with_picture], known=known)
    return figures


def truth_of(picture: Picture) -> Row:
    """List where the node, its outline and its marks lie in a picture, as columns of `Truth.pictures`."""
    outline = picture.outline.round(2)
    sides = ("left", "top", "right", "bottom")
    marks = [{"name": name, **dict(zip(sides, map(float, box), strict=True))} for name, box in picture.marks.items()]
    return picture.node | {"outline_x": outline[:, 0], "outline_y": outline[:, 1], "marks": marks}
