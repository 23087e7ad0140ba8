"""What a user asks of an explanation: whom to explain, on which cohort, and how."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fusion_ln.cohort.cohort import Cohort, load_cohort
from fusion_ln.errors import CohortError, RunError, SettingsError
from fusion_ln.explain.attribution import METHODS
from fusion_ln.predictions import Predictions
from fusion_ln.runs import RunFolder

SAMPLE = 12  # patients, where none are named


@dataclass(frozen=True)
class ExplainSettings:
    """Whom to explain, and how.

    Attributes:
        patients: Named ones; none: a sample.
        sample: How many to draw, as many of each class as can be; None: all that ``errors`` leaves, or `SAMPLE`.
        errors: Draw from the patients whom the run misjudges.
        methods: Names in `METHODS`; none: all that fit the networks.
        trust: Test the maps.
        everyone: Contributions of the modalities of all patients, not only of those explained.
        seed: Of the draw.
    """

    patients: tuple[str, ...] = ()
    sample: int | None = None
    errors: bool = False
    methods: tuple[str, ...] = ()
    trust: bool = True
    everyone: bool = False
    seed: int = 0


def check_methods(names: Sequence[str]) -> tuple[str, ...]:
    """The methods of these names, each once.

    Raises:
        SettingsError: If one is unknown.
    """
    for name in names:
        if name not in METHODS:
            raise SettingsError(f"--method {name}: unknown.", f"Known: {', '.join(METHODS)}.")
    return tuple(dict.fromkeys(names))


def open_run_cohort(run: RunFolder, folder: Path | None) -> Cohort:
    """The cohort of a run: from ``folder`` or, without one, from where the run was made on it.

    Raises:
        CohortError: If it is not there.
        RunError: If the run was made on another cohort, or on other folds.
    """
    record = run.read_record()
    if folder is None and not (Path(record.get("cohort_path", "")) / "cohort.toml").is_file():
        raise CohortError(
            f"{run.root}: its cohort {record['cohort'].get('name', '')} is no longer at {record.get('cohort_path')}.",
            "Say where it is with `--cohort DIR`.",
        )
    cohort = load_cohort(folder or Path(record["cohort_path"]))
    for key, own in (("fingerprint", cohort.fingerprint), ("folds", cohort.folds_fingerprint)):
        if record["cohort"].get(key) != own:
            what = "cohort" if key == "fingerprint" else "folds"
            raise RunError(
                f"{run.root}: was made on another {what} than {cohort.root} holds.", "Give the one it was made on."
            )
    return cohort


def choose_patients(said: Predictions, wish: ExplainSettings) -> list[str]:
    """The patients to explain, sorted: the named ones, or a draw that takes the classes in turn.

    Raises:
        RunError: If a named patient is not in the run, or there is none to draw from.
    """
    if wish.patients:
        if unknown := [patient for patient in wish.patients if patient not in set(said.patients)]:
            raise RunError(
                f"patient {unknown[0]!r} is not in the run: it predicts {len(said.patients)} patients, "
                f"from {said.patients[0]} to {said.patients[-1]}.",
                "See the ids in predictions.parquet; a baseline leaves out whoever lacks its modality.",
            )
        return sorted(set(wish.patients))
    wrong = said.probs.argmax(1) != said.labels
    rows = np.flatnonzero(wrong if wish.errors else np.ones(len(wrong), dtype=bool))
    if not len(rows):
        raise RunError("the run misjudges no patient, so `--errors` leaves none.", "Leave it out.")
    wanted = wish.sample or (len(rows) if wish.errors else SAMPLE)
    drawn = np.random.default_rng(wish.seed).permutation(rows)
    # The first of every class, then the second of every class, ...: as even as the classes allow.
    turn = pd.Series(said.labels[drawn]).groupby(said.labels[drawn]).cumcount().to_numpy()
    chosen = drawn[np.lexsort((said.labels[drawn], turn))][:wanted]
    return sorted(said.patients[row] for row in chosen)
