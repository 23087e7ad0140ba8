"""Style of a report: colours in light and dark, figures, and the writing of numbers."""

import io
import logging
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from fusion_ln.report.kit.fonts import BASE, set_fonts
from fusion_ln.terms import KNOWN_MODALITIES, MODALITY_TABLE

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType  # since Matplotlib 3.11

# Colour name -> (light, dark). A figure is drawn in the light ones; on the page each becomes the variable of its
# name, so the page's style sheet alone decides. Modalities and fusion differ in lightness as well as in hue.
COLOURS = {
    "ink": ("#1b2430", "#e9ecf1"),
    "muted": ("#5b6776", "#a3adba"),
    "line": ("#d3d9e1", "#3a4350"),
    "card": ("#ffffff", "#1b212a"),
    **{modality.name: modality.colour for modality in MODALITY_TABLE},
    "fusion": ("#3a35a8", "#9497ff"),
    "other-1": ("#a8325a", "#ee86a8"),
    "other-2": ("#8a6a14", "#d9b65c"),
    "other-3": ("#2373b5", "#74b4ea"),
}
LIGHT = {name: light for name, (light, _) in COLOURS.items()}
INK, MUTED, LINE, CARD = (LIGHT[name] for name in ("ink", "muted", "line", "card"))
OTHERS = tuple(name for name in COLOURS if name.startswith("other"))

PNG_DPI = 200
PNG_LEVEL = 3  # of zlib: a third of the usual time, for files 8 % larger
POINTS_PER_INCH = 72  # the unit of SVG files
TITLE_HEIGHT = 0.3  # inches
TINY = 0.0005  # three digits would say 0
FIGURE_STYLE: "dict[RcKeyType, object]" = {
    "font.family": BASE,  # on the page the reader's own font takes its place
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,  # a class may be named with a dollar sign
    "axes.labelsize": 8,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.solid_capstyle": "round",
    "figure.constrained_layout.w_pad": 0.07,  # inches
    "figure.constrained_layout.h_pad": 0.07,
    "svg.fonttype": "none",
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the style of all figures while the context is open."""
    with mpl.rc_context(FIGURE_STYLE):
        yield


def modality_colour(modality: str, modalities: tuple[str, ...]) -> str:
    """Choose the colour of a modality; an unknown one takes its place among the unknown ones of its cohort."""
    if modality in KNOWN_MODALITIES:
        return modality
    unknown = [m for m in modalities if m not in KNOWN_MODALITIES]
    return OTHERS[unknown.index(modality) % len(OTHERS)]


def png_of(figure: Figure, title: str) -> bytes:
    """Render the figure on white under its title, for slides and papers; the page has the title elsewhere.

    Call it after `svg_of`, which lays the figure out.
    """
    figure.set_layout_engine(None)
    width, height = figure.get_size_inches()
    figure.text(0.02, 1 + 0.5 * TITLE_HEIGHT / height, title, va="center", fontsize=9, fontweight="bold")
    set_fonts(figure)
    for legend in figure.legends:  # by default it follows the edge of the picture, where the title stands now
        legend.set_bbox_to_anchor((0, 0, 1, 1), figure.transFigure)
    whole = Bbox([[0, 0], [width, height + TITLE_HEIGHT]])
    buffer = io.BytesIO()
    with _quiet_fonts():
        figure.savefig(
            buffer,
            format="png",
            dpi=PNG_DPI,
            facecolor="white",
            metadata={"Software": None},
            bbox_inches=whole,
            pil_kwargs={"compress_level": PNG_LEVEL},
        )
    return buffer.getvalue()


def svg_of(figure: Figure, name: str) -> str:
    """Render the figure as an element of the page: no background, the page's own colours and font.

    Args:
        figure: The figure.
        name: Keeps the identifiers inside apart from those of the page's other figures.
    """
    buffer = io.StringIO()
    set_fonts(figure)
    with mpl.rc_context({"svg.hashsalt": name}), _quiet_fonts():
        _lay_out(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[\w.]+_\d+"', "", text)  # figure_1, axes_1, ...: every figure has them, none is referred to
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"| height="[^"]*"', r"\1", text, count=2)  # the page sets the size
    for colour, light in LIGHT.items():
        text = text.replace(light, f"var(--{colour})")
    return text


def _lay_out(figure: Figure) -> None:
    """Lay a figure out for its page, once: `Figure.savefig` draws all of it for that, and then draws it again."""
    if (engine := figure.get_layout_engine()) is None:
        return
    dpi, canvas = figure.dpi, figure.canvas
    FigureCanvasSVG(figure)  # measures texts as they will be written
    figure.dpi = POINTS_PER_INCH
    engine.execute(figure)
    figure.dpi = dpi
    figure.set_canvas(canvas)
    figure.set_layout_engine(None)  # "none" would keep one, for which `savefig` draws again


@contextmanager
def _quiet_fonts() -> Iterator[None]:
    """Silence Matplotlib on signs that no font has, which `set_fonts` names once, and on fonts without bold letters."""
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            yield
    finally:
        logger.setLevel(level)


def number(value: float, digits: int = 3) -> str:
    """Write a number as 0.918, or a dash where it is NaN."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return "–" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def percent(share: float) -> str:
    """Write a share as 91 %; a dash for NaN."""
    return "–" if math.isnan(share) else f"{100 * share:.0f} %"


def signed(value: float) -> str:
    """Write a difference as +0.061 or −0.004, with a true minus sign."""
    return "–" if math.isnan(value) else f"{value:+.3f}".replace("-", "−")


def spread(low: float, high: float) -> str:
    """Write an interval of positive numbers: 0.88–0.95."""
    return "–" if math.isnan(low) else f"{number(low, 2)}–{number(high, 2)}"


def signed_spread(low: float, high: float) -> str:
    """Write an interval of differences: +0.031 to +0.091."""
    return "–" if math.isnan(low) else f"{signed(low)} to {signed(high)}"


def interval(low: object, high: object) -> str:
    """Write an interval in the digits of `cell`: 0.880–0.952, or −0.031 to 0.091 where an end is negative."""
    ends = [cell(low), cell(high)]
    return "–" if "–" in ends else (" to " if "−" in "".join(ends) else "–").join(ends)


def cell(value: object) -> str:
    """Write a table's value: three digits for a fraction, a power of ten for next to nothing, a dash for none."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        if 0 < abs(value) < TINY:
            return f"{value:.0e}".replace("-", "−")
        return number(value, 1 if abs(value) >= 100 else 3)
    return str(value)
