"""The record of a page, `report.json`: the runs, the cohort and the choices that it was written from."""

import json
import os
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from fusion_ln.errors import RunError
from fusion_ln.evaluation.planning.settings import PlanSettings
from fusion_ln.files.formats import parse, write_json
from fusion_ln.records.parts import Strict
from fusion_ln.terms import PAGE_RECORD

RECORD = PAGE_RECORD
PAGES = {"runs": "of runs", "experiment": "of an experiment", "comparison": "of a comparison", "plan": "of a plan"}


class DrawRecord(Strict):
    """Runs on a further draw of the cohort; ``fraction``: part of each fold's training patients."""

    runs: tuple[str, ...]
    fraction: float = 1.0


class PageRecord(Strict):
    """Inputs of a page, from which `fusionln verify` writes it again; paths are relative to the page's folder.

    An option that changes a figure of a page belongs here, too.

    Attributes:
        kind: The function that wrote it: `write_runs`, `write_experiment`, `write_comparison` or `write_plan`.
        runs: Run folders or tables of predictions, in the order in which they were given.
        draws: The same runs on further draws of the cohort.
        chosen_from: Names of fusions of which the leading one was chosen, by inner validation.
        cohort: Cohort folder; None where the runs' own records say where it is.
        reference: The one of ``runs`` that the others are compared with, if it was named.
        prevalence: Shares of the classes in another population, as they were given.
        costs: Costs of decisions, as they were given; the path of a table is relative, too.
        plan: Targets and assumptions of a plan.
    """

    format: Literal[1] = 1
    kind: Literal["runs", "experiment", "comparison", "plan"]
    runs: tuple[str, ...]
    draws: tuple[DrawRecord, ...] = ()
    chosen_from: tuple[str, ...] = ()
    cohort: str | None = None
    reference: str | None = None
    prevalence: str = ""
    costs: str = ""
    plan: PlanSettings | None = None
    title: str = ""
    question: str = ""

    def write(self, folder: Path) -> None:
        """Write the record beside the page, atomically."""
        write_json(folder / RECORD, self.model_dump(mode="json", exclude_none=True))


def refuse_other_page(out: Path, *kinds: str) -> None:
    """Refuse a folder for a page that holds another kind of page, which the new one would replace.

    Args:
        out: Folder of the page.
        kinds: Kinds of pages that may be written again there; see `PageRecord`.

    Raises:
        RunError: Naming what it holds.
    """
    if (out / RECORD).is_file() and (held := read_page_record(out).kind) not in kinds:
        raise RunError(
            f"{out}: holds another page ({PAGES[held]}), see its {RECORD}.", "Choose another folder with `--out DIR`."
        )


def relative(path: Path, folder: Path) -> str:
    """Give a path relative to the folder of a page: both may move together."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def read_page_record(folder: Path) -> PageRecord:
    """Read the record of the page in a folder.

    Raises:
        RunError: If it is damaged, or of another format.
    """
    path = folder / RECORD
    try:
        return PageRecord.model_validate(parse(path.read_text(encoding="utf-8"), json.loads))
    except ValidationError as error:
        first = error.errors()[0]
        found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (OSError, ValueError) as error:
        found = str(error)
    raise RunError(f"{path}: cannot be read as the record of a page; {found}.", "Restore it, or write the page again.")
