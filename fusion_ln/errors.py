"""Every error that a user of the package may meet, the words for an unknown name, and names that are no text."""

import re
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

PictureFault = Literal[
    "empty",
    "not-a-picture",
    "damaged",
    "too-small",
    "too-large",
    "too-deep",  # bits a sample
    "too-heavy",  # in time or memory
    "colours",
    "no-decoder",
    "video",
    "not-cut",
]
RENAME = "Rename it; `convmv -f latin1 -t utf8 -r --notest FOLDER` mends all names below a folder."


class FusionLNError(Exception):
    """A mistake that its user can mend: what is wrong and where, and the way out of it.

    Args:
        problem: Where, what was found and what was expected.
        way_out: What to do about it, one sentence or more; may be empty where the problem says it.
    """

    def __init__(self, problem: str, way_out: str = "") -> None:
        super().__init__(problem, way_out)
        self.problem = problem
        self.way_out = way_out

    def __str__(self) -> str:
        return printable(f"{self.problem}\n    {self.way_out}" if self.way_out else self.problem)


class CohortError(FusionLNError):
    """A cohort folder, its tables or its folds are not what the command needs."""


class SourceError(FusionLNError):
    """A raw archive or a table is not laid out as expected, or could not be fetched."""


class PictureError(FusionLNError):
    """A picture cannot be decoded, or is not one.

    Args:
        fault: What is wrong with it, in a word for programs; None: only the problem says it.
    """

    def __init__(self, problem: str, way_out: str = "", fault: PictureFault | None = None) -> None:
        super().__init__(problem, way_out)
        self.fault = fault


class SettingsError(FusionLNError):
    """An option, a preset or an experiment file asks for something that does not exist."""


class RunError(FusionLNError):
    """A run folder holds something else than the command needs, or could not be written."""


class ModelError(FusionLNError):
    """A model's folder is damaged, edited, or not what the command needs."""


class ServerError(FusionLNError):
    """A server cannot be reached, or refuses a request."""


class PredictionsError(FusionLNError):
    """A table of predictions breaks its schema, or two tables do not fit together."""


class WeightsError(FusionLNError):
    """Weights are missing, or belong to another network."""


class StudyError(FusionLNError):
    """A study is another one than the command needs, has nothing to show, or its storage cannot be reached."""


class VerifyError(FusionLNError):
    """A file says something else than the tables that it follows from."""


class DivergedError(FusionLNError):
    """Training met a loss that is not a finite number."""


def unknown(what: str, name: str, known: Collection[str], *, where: str = "", listing: str = "") -> tuple[str, str]:
    """Describe a name that does not exist, as the two arguments of an error.

    Args:
        what: Kind of thing that the name should be, such as ``source``.
        name: The unknown name.
        known: Names that exist; the nearest one is suggested.
        where: File or option that holds the name.
        listing: Text in place of the known names, where these are too many.

    Returns:
        The problem and the way out.
    """
    near = get_close_matches(name, list(known), n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    place = f"{where}: " if where else ""
    return f"{place}{name}: unknown {what}.", f"{hint}Known: {listing or ', '.join(known) or 'none'}."


def pip_install(extra: str) -> str:
    """Write the command that installs an extra of the package, for a way out."""
    return f'`pip install "fusion_ln[{extra}]"`'


def is_text(name: str) -> bool:
    """Test whether the name of a file is UTF-8 text: any other can stand in no table, record or page."""
    return not re.search(r"[\ud800-\udfff]", name)


def printable(name: str | Path) -> str:
    """Replace the bytes of a name that are not UTF-8, which Python keeps as surrogates, by their hex digits."""
    return re.sub(r"[\ud800-\udfff]", lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", str(name))


def in_short(error: BaseException, most: int = 200) -> str:
    """Give the first words of a library's error in one line, or its kind where it has none."""
    return " ".join(str(error).split())[:most] or type(error).__name__
