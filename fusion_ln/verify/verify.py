"""Verification of a folder of results: every run and every page in it, and what cannot be recomputed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.draws import FOLDER
from fusion_ln.cohort.folder import open_run_cohort
from fusion_ln.cohort.head import HEAD
from fusion_ln.errors import RunError
from fusion_ln.evaluation.external.record import EVALUATION_FILE as EVALUATION
from fusion_ln.files.hashes import hash_file
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.progress import progress
from fusion_ln.records.kinds import LateFusionRecord, PretrainingRecord
from fusion_ln.report.record import RECORD, read_page_record
from fusion_ln.runs import RunFolder
from fusion_ln.terms import PATH, SHA256
from fusion_ln.verify.deviations import deviation
from fusion_ln.verify.evaluations import verify_evaluation
from fusion_ln.verify.models import verify_model
from fusion_ln.verify.pages import verify_page
from fusion_ln.verify.runs import verify_run

# Nothing in a run's tables yields these: they were measured, or a network computed them.
MEASURED = "seconds, pictures per second, memory, versions, hardware, command and start of each run (run.json)"
STUDY_FIGURES = (
    "weights, calibration, moments, AUC and comparison report of a model: the study that it was frozen from yields them"
)
ANSWERS = "answers of evaluations (predictions.parquet): only the model and the pictures give them"
LOGITS = "logits of networks and trained heads, and their histories: only training anew gives them"
DRAWN_FIGURES = "figures (figures/*.png and in the pages): drawn from the tables that were compared"


@dataclass
class Verification:
    """Result of a verification: all that agrees, by place, and all that cannot be recomputed."""

    agreeing: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


def verify(folder: Path, moved: Path | None = None) -> Verification:
    """Recompute every figure in a folder that follows from tables, and check hashes, folds and formats.

    Args:
        folder: A run, the folder of a fusion with its baselines or of an experiment, the output of a comparison or of
            an evaluation, or a frozen model.
        moved: Cohort folder, if it is not where the runs were made on it.

    Raises:
        VerifyError: Naming the first file, row and column that differ, with what was found and expected.
        RunError: If there is nothing to verify, or a file is damaged.
        CohortError: If ``moved`` is no cohort, or a table of the cohort was changed.
    """
    if (model := ModelFolder(folder)).record.is_file():
        if moved:
            raise RunError(f"{folder}: a model, which needs no cohort.", "Leave `--cohort` out.")
        return Verification(verify_model(model), [STUDY_FIGURES])
    pages = sorted(path.parent for path in folder.rglob(RECORD))
    evaluations = sorted(path.parent for path in folder.rglob(EVALUATION))
    runs = _find_runs(folder, pages)
    _refuse_nothing(folder, [*runs, *pages, *evaluations])
    found, cohorts = Verification(), _Cohorts(moved, {})
    found.agreeing |= {f"{_shown(place, folder)} (evaluation)": verify_evaluation(place) for place in evaluations}
    predicting = [run for run in runs if not isinstance(run.read_record(), PretrainingRecord)]
    for run in predicting:
        cohorts.of(run, found)
    for run in runs:
        if run not in predicting:
            found.left.append(
                f"{_shown(run.root, folder)}: a pre-training, which has no table that its figures follow from"
            )
        elif not run.finished:
            found.left.append(f"{_shown(run.root, folder)}: unfinished")
        else:
            found.agreeing[_shown(run.root, folder)] = verify_run(run, cohorts.of(run, found))
    for page in pages:
        first = next(iter(_runs_of(page)), None)
        checked = verify_page(page, cohorts.of(first, found) if first else None, moved)
        if checked:
            found.agreeing[_shown(page, folder) + " (report)"] = checked
        else:
            found.left.append(f"{_shown(page, folder)}: its page needs the cohort")
    found.left += [
        *([ANSWERS] if evaluations else []),
        *_other_pages(folder, [*pages, *evaluations, *(run.root for run in runs if run not in predicting)]),
        MEASURED,
        *([DRAWN_FIGURES] if pages else []),
    ]
    if any(not isinstance(run.read_record(), LateFusionRecord) for run in predicting):
        found.left.append(LOGITS)
    return found


def _refuse_nothing(folder: Path, held: Sequence[object]) -> None:
    if not held:
        raise RunError(
            f"{folder}: holds neither a run nor the record of a page ({RECORD}) or of an evaluation ({EVALUATION}).",
            "Give the folder of a run, of an experiment, of a comparison (`fusionln compare --out`) or of an "
            "evaluation (`fusionln evaluate --out`).",
        )


@dataclass
class _Cohorts:
    """The cohorts of the runs, opened once for each draw of the folds, their pictures checked once."""

    moved: Path | None
    opened: dict[tuple[str, str], Cohort | None]  # by fingerprint of the cohort and of its folds
    checked: set[str] = field(default_factory=set)  # fingerprints of cohorts whose pictures are as they were

    def of(self, run: RunFolder, found: Verification) -> Cohort | None:
        """Open the cohort of a run; None, and a line in ``found``, where it is not at hand."""
        record = run.read_prediction_record()
        key = record.cohort.fingerprint, record.cohort.folds
        if key not in self.opened:
            of_draw = run.root.parent / FOLDER
            named = of_draw if (of_draw / HEAD).is_file() else self.moved
            if not named and not (Path(record.cohort_path or "") / HEAD).is_file():
                self.opened[key] = None
                found.left.append(
                    f"labels, folds, pictures and whole patients of the cohort {record.cohort.name}: it is not at "
                    f"{record.cohort_path}; name it with --cohort DIR"
                )
            else:
                self.opened[key] = self._check(open_run_cohort(run, named), found)
        known = self.opened[key]
        if known is not None:
            run.check_cohort(known.describe())
        return known

    def _check(self, cohort: Cohort, found: Verification) -> Cohort:
        """Check the pictures, unless another draw has the same ones."""
        if cohort.fingerprint not in self.checked:
            pictures = _check_pictures(cohort)
            self.checked.add(cohort.fingerprint)
            found.agreeing[f"cohort {cohort.name}"] = f"hashes of its tables and of {pictures} pictures"
        return cohort


def _check_pictures(cohort: Cohort) -> int:
    """Compare every picture's file with its hash in the cohort; returns how many there are."""
    rows = cohort.images[[PATH, SHA256]].drop_duplicates()
    with progress("Pictures", len(rows)) as step:
        for name, expected in rows.itertuples(index=False, name=None):
            path = cohort.picture_path(name)
            if (held := hash_file(path) if path.is_file() else "no such file") != expected:
                raise deviation(path, "SHA-256 of the picture", held, expected)
            step("")
    return len(rows)


def _find_runs(folder: Path, pages: list[Path]) -> list[RunFolder]:
    """List the runs in a folder, baselines first, and those that its pages name."""
    roots = {path.parent.resolve() for path in folder.rglob("run.json")}
    roots |= {run.root for page in pages for run in _runs_of(page)}
    return [RunFolder(root) for root in sorted(roots)]


def _runs_of(page: Path) -> list[RunFolder]:
    """List the run folders, among the inputs of a page."""
    places = [RunFolder((page / run).resolve()) for run in read_page_record(page).runs]
    return [place for place in places if place.record.is_file()]


def _other_pages(folder: Path, pages: list[Path]) -> list[str]:
    """Name the pages in a folder that no record tells how to write again, but those beside ``pages``."""
    known = {page.resolve() for page in pages}
    held = sorted(path for path in folder.rglob("*.html") if path.parent.resolve() not in known)
    return [
        f"{_shown(path, folder)}: "
        + ("written before pages kept a record" if path.name == "report.html" else "needs the models and the pictures")
        for path in held
    ]


def _shown(path: Path, folder: Path) -> str:
    place = path.resolve()
    return place.relative_to(folder.resolve()).as_posix() if place.is_relative_to(folder.resolve()) else str(path)
