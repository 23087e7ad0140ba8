import warnings

import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from fusion_ln.report.kit import fonts
from fusion_ln.report.kit.style import figure_style, png_of, svg_of

IN_STIX = "ᶁᶄᶊ"  # signs that DejaVu Sans lacks and a font that comes with Matplotlib has
NOWHERE = "良性"


@pytest.fixture(autouse=True)
def as_new(monkeypatch):
    """Only the fonts that come with Matplotlib, and nothing said yet."""
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    shipped = [entry for entry in font_manager.fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", shipped)
    monkeypatch.setattr(fonts, "_said", set())
    caches = (fonts._installed, fonts._families)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def figure_of(text: str) -> Figure:
    """Its tick labels, its legend and a text of its own all hold ``text``."""
    with figure_style():
        figure = Figure(figsize=(2, 1.5), layout="constrained")
        axes = figure.add_subplot()
        axes.barh([0], [1], label=text)
        axes.set_yticks([0], [text])
        axes.text(0.5, 0, text)
        figure.legend(loc="outside upper left")
    return figure


def families_of(figure: Figure, text: str) -> set[tuple[str, ...]]:
    return {tuple(each.get_fontfamily()) for each in figure.findobj(Text) if each.get_text() == text}


def draw(text: str) -> bytes:
    figure = figure_of(text)
    with figure_style():
        svg_of(figure, "a")
        return png_of(figure, text)


def test_a_sign_that_the_usual_font_lacks_is_drawn_with_one_that_has_it(capsys):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph")
        draw(IN_STIX)
    assert capsys.readouterr().err == ""
    figure = figure_of(IN_STIX)
    with figure_style():
        svg_of(figure, "a")
    assert families_of(figure, IN_STIX) == {(fonts.BASE, "STIXGeneral")}


def test_where_no_font_has_a_sign_one_line_names_it_and_the_package(capsys):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph")
        draw(NOWHERE)
        draw(NOWHERE)
    [line] = capsys.readouterr().err.splitlines()
    assert "no installed font has 性 良:" in line
    assert "fonts-noto-cjk" in line


def test_another_process_can_say_which_signs_no_font_has(capsys):
    with fonts.missing_signs() as missing:
        draw(NOWHERE)
    assert capsys.readouterr().err == ""
    assert missing == [sorted(NOWHERE)]
    for signs in missing * 2:
        fonts.say_missing(signs)
    assert capsys.readouterr().err.count("no installed font has 性 良:") == 1


def test_other_names_keep_the_usual_font(monkeypatch):
    monkeypatch.setattr(fonts, "_installed", dict)  # no font is looked for
    figure = figure_of("bénigne α")
    fonts.set_fonts(figure)
    assert families_of(figure, "bénigne α") == {(fonts.BASE,)}
