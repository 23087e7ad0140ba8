"""Ground truth of a phantom cohort: outlines, marks, exact posteriors, and the AUC that they allow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.head import Attainable
from fusion_ln.cohort.phantom.findings import Tables, attainable, attainable_by_tables, posterior, tables
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
    patients: pd.DataFrame,
    present: np.ndarray,
    known: Tables | None = None,
    missing: Sequence[float] | None = None,
) -> Attainable:
    """Score the exact posterior over all patients that the tables can yield, and over those of a cohort.

    See `attainable_by_tables`.
    """
    by_tables = {
        name: attainable_by_tables(subset, known, missing) for name, subset in subsets(tables().modalities).items()
    }
    return Attainable(tables=by_tables, cohort=attainable_by_cohort(patients, present, known))


def attainable_by_cohort(
    patients: pd.DataFrame, present: np.ndarray, known: Tables | None = None
) -> dict[str, dict[str, float]]:
    """Score the exact posterior on these patients, by subset of the modalities.

    Each patient is seen in those pictures of the subset that exist.

    Args:
        patients: The phantom's table of patients. P rows.
        present: Presence mask. bool, shape (P, M).
        known: The law of the patients; the home hospitals' by default.
    """
    figures, modalities = {}, tables().modalities
    for name, subset in subsets(modalities).items():
        seen = present & np.isin(modalities, subset)
        probs = np.empty((len(patients), len(tables().classes)))
        for pattern in np.unique(seen, axis=0):
            rows = (seen == pattern).all(axis=1)
            probs[rows] = posterior(patients[rows], np.array(modalities)[pattern], known)
        with_picture = seen.any(axis=1)
        figures[name] = attainable(probs[with_picture], patients[LABEL].to_numpy()[with_picture], known=known)
    return figures


def truth_of(picture: Picture) -> Row:
    """List where the node, its outline and its marks lie in a picture, as columns of `Truth.pictures`."""
    outline = picture.outline.round(2)
    sides = ("left", "top", "right", "bottom")
    marks = [{"name": name, **dict(zip(sides, map(float, box), strict=True))} for name, box in picture.marks.items()]
    return picture.node | {"outline_x": outline[:, 0], "outline_y": outline[:, 1], "marks": marks}
