"""Verification of a page: it is written once more in a temporary folder, and every text and table is compared."""

from pathlib import Path
from tempfile import TemporaryDirectory

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.draws import Draw
from fusion_ln.cohort.folder import open_run_cohort
from fusion_ln.errors import VerifyError
from fusion_ln.evaluation.probabilities.costs import is_table
from fusion_ln.report.comparison import write_comparison
from fusion_ln.report.experiment import Heading, write_experiment, write_runs
from fusion_ln.report.kit.page import without_figures
from fusion_ln.report.plan import write_plan
from fusion_ln.report.record import DrawRecord, PageRecord, read_page_record
from fusion_ln.runs import RunFolder
from fusion_ln.verify.deviations import WAY_OUT, compare_csv, compare_page


def verify_page(folder: Path, cohort: Cohort | None, moved: Path | None) -> str | None:
    """Write the page of a folder once more, without its figures, and compare what is written with what lies there.

    Args:
        folder: Folder that holds the record of a page.
        cohort: The cohort of its runs, if it is at hand.
        moved: The cohort's folder, if the user named it.

    Returns:
        A few words on what was compared; None if the page needs the cohort, which is not at hand.

    Raises:
        VerifyError: Naming the first cell or line that differs.
        RunError: If the record of the page is damaged.
    """
    record = read_page_record(folder)
    if cohort is None and record.kind not in ("comparison", "plan"):
        return None
    with TemporaryDirectory(prefix="fusionln-verify-") as name:
        again = Path(name) / "page"
        with without_figures():
            _write_again(record, folder, again, cohort, moved)
        return compare_files(folder, again)


def compare_files(folder: Path, again: Path) -> str:
    """Compare every text and table of a page that was written again with the one that lies in a folder.

    Returns:
        A few words on what was compared.

    Raises:
        VerifyError: Naming the first cell or line that differs.
    """
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.suffix in (".csv", ".html", ".md"))
    for file in files:
        _compare(folder / file, again / file)
    tables = sum(file.suffix == ".csv" for file in files)
    texts = [file.name for file in files if file.suffix in (".html", ".md")]
    return f"{tables} tables, " + ", ".join(texts)


def _write_again(record: PageRecord, folder: Path, out: Path, cohort: Cohort | None, moved: Path | None) -> None:
    places = [(folder / run).resolve() for run in record.runs]
    if record.plan is not None:
        write_plan(out, places, record.plan)
        return
    if record.kind == "comparison":
        named = None if record.cohort is None else (folder / record.cohort).resolve()
        reference = None if record.reference is None else (folder / record.reference).resolve()
        costs = str((folder / record.costs).resolve()) if is_table(record.costs) else record.costs
        asked = {"prevalence": record.prevalence, "costs": costs}
        write_comparison(out, places, reference=reference, cohort=moved or named, **asked)
        return
    assert cohort is not None, "a page of runs needs their cohort"
    runs, heading = [RunFolder(place) for place in places], Heading(record.title, record.question)
    if record.kind == "experiment":
        write_experiment(out, runs, cohort, heading)
        return
    further = [_read_draw(draw, folder) for draw in record.draws]
    write_runs(out, runs, cohort, heading, further=further, chosen_from=record.chosen_from)


def _read_draw(draw: DrawRecord, folder: Path) -> tuple[Draw, list[RunFolder]]:
    """Open the runs on a further draw, and the cohort folder of that draw."""
    runs = [RunFolder((folder / run).resolve()) for run in draw.runs]
    return Draw(runs[0].root.parent, open_run_cohort(runs[0], None), 0, draw.fraction), runs


def _compare(found: Path, expected: Path) -> None:
    if not found.is_file():
        raise VerifyError(f"{found}: is missing; the page's own inputs give it.", WAY_OUT)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in (found, expected)]
    (compare_csv if found.suffix == ".csv" else compare_page)(found, *texts)
