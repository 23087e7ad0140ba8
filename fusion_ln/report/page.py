"""What small report pages have in common: their template, their figures in it and beside it, their tables as CSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from fusion_ln.files import write_atomically, write_text
from fusion_ln.report import style
from fusion_ln.report.plates import Plate
from fusion_ln.report.tables import Sheet
from fusion_ln.runs import as_file_name
from fusion_ln.terms import SIMULATED, short_title


def plate(name: str, title: str, caption: str, figure: Figure, *, simulated: bool) -> Plate:
    """A figure with what stands around it, marked where its patients are simulated."""
    if simulated:
        figure.supxlabel(f"{SIMULATED} patients", x=0.99, ha="right", fontsize=6.5, color=style.MUTED, style="italic")
    return Plate(as_file_name(name), title, caption, figure)


def write_page(
    page: Path, template: str, drawn: Sequence[Plate], sheets: Sequence[Sheet], *, simulated: bool, **values: Any
) -> Path:
    """Fill a template; beside the page go its ``figures/*.png`` and ``tables/*.csv``. Returns the path of the page."""
    with style.figure_style():
        pictures = {}
        for each in drawn:
            pictures[each.name] = Markup(style.svg_of(each.figure, each.name))
            _write_png(page.parent / "figures" / f"{each.name}.png", style.png_of(each.figure, each.title))
    for sheet in sheets:
        table = sheet.table.assign(**{SIMULATED: True}) if simulated else sheet.table
        write_text(page.parent / "tables" / f"{sheet.name}.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(page, _render(template, {"pictures": pictures, "simulated": simulated, **values}))
    return page


def _render(template: str, values: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("fusion_ln.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": style.number, "signed": style.signed, "short": short_title}
    environment.globals |= {"spread": style.spread, "signed_spread": style.signed_spread, "colours": style.COLOURS}
    return environment.get_template(template).render(values)


def _write_png(path: Path, png: bytes) -> None:
    def write(temporary: Path) -> None:
        temporary.write_bytes(png)

    write_atomically(path, write)
