"""A section of a report, and the report that it belongs to."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar, cast
from urllib.parse import quote

from fusion_ln.errors import PredictionsError
from fusion_ln.report.kit.figures import Plate
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results

MANY_MODELS = 9  # more than the answer has room for
Found = TypeVar("Found")
Given = ParamSpec("Given")


@dataclass(frozen=True, eq=False)
class Report:
    """A report while it is built.

    Attributes:
        results: Its models and their statistics.
        folder: The folder of its page, where links start.
        title: Heading of the page.
        question: The question in one sentence; may be empty.
        seeds: The page over the seeds, where there is one.
        without_patients: True for a page that leaves its study: it shows no patient, names no place on a machine, and
            stands alone, without figures and tables beside it.
        note: A paragraph on what the figures are of; may be empty.
    """

    results: Results
    folder: Path
    title: str
    question: str = ""
    seeds: Path | None = None
    without_patients: bool = False
    note: str = ""
    _computed: dict[Callable[[Results], object], object] = field(default_factory=dict, repr=False)

    @property
    def first_models(self) -> tuple[Model, ...]:
        """The models that the answer shows: all, or the headline's groups where there are too many."""
        if len(self.results.models) <= MANY_MODELS:
            return self.results.models
        groups = {model.group for model in self.results.headline}
        return tuple(model for model in self.results.models if model.group in groups)

    def once(self, compute: Callable[[Results], Found]) -> Found:
        """Compute a part of the evidence the first time that a section needs it."""
        if compute not in self._computed:
            self._computed[compute] = compute(self.results)
        return cast("Found", self._computed[compute])

    def link(self, page: Path) -> str:
        """Give the address of a page relative to this one; both may move together."""
        return quote(Path(os.path.relpath(page.resolve(), self.folder.resolve())).as_posix())


@dataclass(frozen=True)
class Section:
    """A section of the page: its heading, figures and tables, and the template that arranges them.

    A module below `fusion_ln.report.run.sections` has a function ``build(report: Report) -> Section | None``; None
    where the runs give the section nothing to show. The page finds the module by itself.

    Attributes:
        place: Sections stand on the page in this order.
        anchor: Identifier on the page.
        link: Text of the link in the menu.
        title, subtitle: Heading, and the muted text beside it.
        template: In ``templates/sections``, in the folder of its part; it sees the section under its name.
            ``plain.html`` shows the text, then the figures side by side, then the tables one below the other.
        text: A paragraph of plain text; only ``plain.html`` shows it.
        plates: Figures.
        sheets: Tables. Each with a row is written as CSV; the template decides which ones the page shows.
        headline: A sentence or two for the answer at the head of the page; empty for none.
        alarm: A sentence in red at the head of the page; empty for none.
        left_out: Reasons why parts are missing, a line each.
        is_open: Whether the section starts unfolded.
        values: Further values for the template.
    """

    place: int
    anchor: str
    link: str
    title: str
    subtitle: str
    template: str = "plain.html"
    text: str = ""
    plates: Sequence[Plate] = ()
    sheets: Sequence[Sheet] = ()
    headline: str = ""
    alarm: str = ""
    left_out: Sequence[str] = ()
    is_open: bool = False
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def tables(self) -> dict[str, Sheet]:
        """The tables that have a row, by name."""
        return {sheet.name: sheet for sheet in self.sheets if len(sheet.table)}


def attempt(
    reasons: list[str], compute: Callable[Given, Found], *args: Given.args, **more: Given.kwargs
) -> Found | None:
    """Compute a part; where the patients do not allow it, return None and put the reason in place of ``reasons``."""
    try:
        return compute(*args, **more)
    except PredictionsError as error:
        reasons[:] = [error.problem]
        return None
