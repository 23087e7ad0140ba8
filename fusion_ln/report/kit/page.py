"""Pages of reports: a template filled, its figures in it and beside it as PNG, its tables as CSV."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fusion_ln.files.atomic import write_atomically
from fusion_ln.files.formats import write_text
from fusion_ln.files.locks import LOCK, locked
from fusion_ln.forks import map_in_forks
from fusion_ln.report.kit import fonts, style
from fusion_ln.report.kit.figures import Plate
from fusion_ln.report.kit.sheets import Sheet, csv_of, heading_of
from fusion_ln.terms import mark_commands, short_title

_DRAWN = ContextVar("drawn", default=True)


@contextmanager
def without_figures() -> Iterator[None]:
    """Leave the figures of pages blank while the body writes them: most of the time of a page is their drawing."""
    token = _DRAWN.set(False)
    try:
        yield
    finally:
        _DRAWN.reset(token)


def write_page(
    page: Path,
    template: str,
    drawn: Sequence[Plate],
    sheets: Sequence[Sheet],
    /,
    *,
    simulated: bool,
    beside: bool = True,
    nodes: str = "",
    titles: Mapping[str, str] = MappingProxyType({}),
    **values: object,
) -> Path:
    """Fill a template; beside the page go its ``figures/*.png`` and ``tables/*.csv``, unless it stands alone.

    Args:
        page: The file to write.
        template: One of ``templates/``; besides ``values`` it has ``pictures``, the figures by name.
        drawn: The plates of all figures.
        sheets: The tables that go beside the page.
        simulated: Whether page and tables must say so.
        beside: False for a page that stands alone.
        nodes: Count of nodes and their patients, where the page's units are nodes; see `nodes_counted`.
        titles: Texts of tables and the titles that the page shows in their place.

    Returns:
        Path of the page.
    """
    with locked(page.parent / LOCK):
        pictures = _draw(page, drawn, beside) if _DRAWN.get() else {plate.name: Markup() for plate in drawn}
        for sheet in sheets if beside else ():
            write_text(page.parent / "tables" / f"{sheet.name}.csv", csv_of(sheet.table, simulated))
        given = {**values, "pictures": pictures, "simulated": simulated, "nodes": nodes}
        filled = _environment(titles).get_template(template).render(given)
        write_text(page, filled)
    return page


class Rendered(NamedTuple):
    """A figure as an element of the page and as a PNG file, and its signs that no font has (`fonts.say_missing`)."""

    svg: str
    png: bytes
    missing: list[list[str]]


def _draw(page: Path, drawn: Sequence[Plate], beside: bool) -> dict[str, Markup]:
    """Draw the figures for a page, and write them beside it unless it stands alone."""
    pictures = {}
    with style.figure_style():
        each = map_in_forks(f"Figures of {page.name}", partial(_render, beside=beside), drawn)
        for plate, rendered in zip(drawn, each, strict=True):
            pictures[plate.name] = Markup(rendered.svg)
            if beside:
                write_png(page.parent / "figures" / f"{plate.name}.png", rendered.png)
            for signs in rendered.missing:
                fonts.say_missing(signs)
    return pictures


def _render(plate: Plate, *, beside: bool) -> Rendered:
    with fonts.missing_signs() as missing:
        svg = style.svg_of(plate.figure, plate.name)
        return Rendered(svg, style.png_of(plate.figure, plate.title) if beside else b"", missing)


def _environment(titles: Mapping[str, str]) -> Environment:
    environment = Environment(
        loader=PackageLoader("fusion_ln.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "cell": lambda value: mark_commands(titles.get(value) or style.cell(value)),
        "commands": mark_commands,
        "heading": lambda column: titles.get(column.name) or column.heading,
        "words": heading_of,
        "number": style.number,
        "short": short_title,
        "signed": style.signed,
    }
    environment.filters |= filters
    environment.globals |= {"spread": style.spread, "signed_spread": style.signed_spread, "colours": style.COLOURS}
    return environment


def write_png(path: Path, png: bytes) -> None:
    """Write a picture file, atomically."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(png)

    write_atomically(path, write)
