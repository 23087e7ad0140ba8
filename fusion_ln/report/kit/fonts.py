"""Fonts of figures: the usual one, and installed ones for signs that it lacks, such as Chinese ones."""

import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from fusion_ln.progress import say

BASE = "DejaVu Sans"  # comes with Matplotlib
# Debian's package by the first word of a sign's name in Unicode; other scripts are in OTHER_SCRIPTS.
PACKAGES = dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC"), "fonts-noto-cjk")
OTHER_SCRIPTS = "fonts-noto-core"
NO_PICTURES = "Last Resort"  # has a box for every sign
NORMAL_WEIGHT = 400
_said: set[str] = set()  # packages that the user has been told of
_say_later = ContextVar[Callable[[list[str]], None] | None]("say_later", default=None)


def set_fonts(figure: Figure) -> None:
    """Give each text whose signs `BASE` lacks fonts that have them; name once the signs that no font has."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if lacking := _lacking(text.get_text()):
            text.set_fontfamily([BASE, *_families(lacking)])


def _lacking(text: str) -> frozenset[str]:
    return frozenset() if text.isascii() else frozenset(s for s in text if s.isprintable() and ord(s) not in _base())


@cache
def _families(lacking: frozenset[str]) -> tuple[str, ...]:
    """Choose families that have the signs together, those that have most of them first."""
    chosen: list[str] = []
    left = {ord(sign) for sign in lacking}
    while left:
        family = max(
            _installed(), key=lambda name: (len(left & _installed()[name]), "SC" in name, "Sans" in name, name)
        )
        if not left & _installed()[family]:
            break
        chosen.append(family)
        left -= _installed()[family]
    (_say_later.get() or say_missing)(sorted(map(chr, left)))
    return tuple(chosen)


@contextmanager
def missing_signs() -> Iterator[list[list[str]]]:
    """Collect what `say_missing` would say of the figures in the body, for another process to say it."""
    missing: list[list[str]] = []
    token = _say_later.set(missing.append)
    try:
        yield missing
    finally:
        _say_later.reset(token)


def say_missing(signs: list[str]) -> None:
    """Name signs that no font has and the package that has them, once a package."""
    scripts = {unicodedata.name(sign, "").split(" ")[0].split("-")[0] for sign in signs}
    if packages := {PACKAGES.get(script, OTHER_SCRIPTS) for script in scripts} - _said:
        _said.update(packages)
        named = f"{' '.join(signs[:5])}{' and others' if len(signs) > 5 else ''}"
        say(
            f"Figures: no installed font has {named}: the PNG files show boxes in their place, the page itself uses "
            "its reader's fonts. "
            f"Install one (Debian: {' '.join(sorted(packages))}) and write the report again."
        )


@cache
def _base() -> frozenset[int]:
    return _signs(font_manager.findfont(BASE))


@cache
def _installed() -> dict[str, frozenset[int]]:
    """Map each installed family to its signs; fonts that were installed since Matplotlib last looked are found too."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            try:
                font_manager.fontManager.addfont(path)
            except (OSError, RuntimeError):  # no font that Matplotlib reads
                continue
    upright = [entry for entry in font_manager.fontManager.ttflist if entry.style == "normal"]
    upright.sort(key=lambda entry: abs(_weight(entry.weight) - NORMAL_WEIGHT), reverse=True)
    regular = {entry.name: entry.fname for entry in upright if not entry.name.startswith(NO_PICTURES)}
    return {name: _signs(path) for name, path in regular.items()}


def _weight(weight: int | str) -> int:
    return weight if isinstance(weight, int) else NORMAL_WEIGHT


def _signs(path: str) -> frozenset[int]:
    return frozenset(font_manager.get_font(path).get_charmap())
