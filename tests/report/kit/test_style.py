import io
import re

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from fusion_ln.report.kit.style import figure_style, number, png_of, svg_of


def test_a_legend_leaves_the_title_of_a_png_its_room(monkeypatch):
    with figure_style():
        figure = Figure(figsize=(3, 2), layout="constrained")
        figure.add_subplot().barh([0], [1], label="a")
        legend = figure.legend(loc="outside upper left")
        svg_of(figure, "a")
        tops: list[float] = []
        drawn = type(legend).draw
        monkeypatch.setattr(
            type(legend), "draw", lambda self, renderer: (drawn(self, renderer), tops.append(_top(self)))
        )
        png_of(figure, "Title")
    assert tops
    assert max(tops) <= 2


def _top(legend) -> float:
    """Upper edge in inches from the foot of the figure, which is 2 high; the title stands above."""
    box: Bbox = legend.get_window_extent()
    return box.y1 / legend.figure.dpi


def test_an_endless_number_is_a_sign():
    assert (number(float("inf")), number(float("-inf")), number(float("nan"))) == ("∞", "−∞", "–")


def test_a_figure_is_drawn_once_for_its_page_and_once_for_its_png(monkeypatch):
    """Layout by `savefig` itself, which draws everything twice, gives the same page."""
    drawn: list[Figure] = []
    draw = Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda self, renderer: (drawn.append(self), draw(self, renderer)))
    with figure_style():
        figure, twin = (Figure(figsize=(3, 2), layout="constrained") for _ in range(2))
        for each in (figure, twin):
            each.add_subplot().barh(["A long name", "B"], [1, 2])
        svg = svg_of(figure, "a")
        png_of(figure, "Title")
        assert drawn == [figure, figure]
        file = io.StringIO()
        twin.savefig(file, format="svg", transparent=True)
    assert re.findall(r"translate\([^)]*\)", svg) == re.findall(r"translate\([^)]*\)", file.getvalue())
