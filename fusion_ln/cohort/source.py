"""Sources: readers of raw archives, each one file of ``cohort/sources``, and what these files share.

A source is named after its file, is found by it, and declares its own options as fields with `option`.
"""

import ast
import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from fusion_ln.cohort.regions.box import Box
from fusion_ln.decode.picture import looks_like_picture
from fusion_ln.errors import PictureError, SettingsError, SourceError, unknown

if TYPE_CHECKING:
    import pandas as pd

SOURCES = Path(__file__).parent / "sources"
NAMED_AT_MOST = 10  # offenders that one message names; it says how many there are

T = TypeVar("T")


@dataclass(frozen=True)
class ImageRow:
    """One picture of a raw archive.

    Attributes:
        patient_id: None where the archive names no patients: pictures that look alike then become one patient.
        label: A class name.
        view: None: numbered from 0 in the order of the paths.
        box: Part of the file that is the picture, where the archive says it.
    """

    patient_id: str | None
    label: str
    modality: str
    path: Path
    view: int | None = None
    site: str = ""
    box: Box | None = None


@dataclass(frozen=True)
class Archive:
    """Pictures of a raw archive, as a source found them.

    Attributes:
        root: Folder that holds all the pictures.
        of_nodes: Its ``patient_id`` name nodes of patients, see `fusion_ln.units`.
        clinical: Further columns, one row per ``patient_id``.
        remarks: Lines for the person who imports: what was found, what was left out.
        unusable: Path, relative to ``root``, and reason of each file that cannot become a picture with a label.
    """

    root: Path
    classes: tuple[str, ...]
    modalities: tuple[str, ...]
    images: Sequence[ImageRow]
    clinical: "pd.DataFrame | None" = None
    remarks: tuple[str, ...] = field(default=())
    unusable: tuple[tuple[str, PictureError], ...] = field(default=())
    of_nodes: bool = False


@dataclass(frozen=True)
class Source(ABC):
    """Reader of a raw archive; never writes to it.

    Attributes:
        root: The raw folder or file.
        default_frames: Frames of each cine that become pictures without `--frames`; empty: `--frame` of each.
    """

    root: Path
    default_frames: ClassVar[str] = ""

    @property
    def name(self) -> str:
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def read(self) -> Archive:
        """Find the pictures, ordered by path; does not open them.

        Raises:
            SourceError: If the archive is not laid out as the source expects.
        """


def option(default: T, help_text: str, *, parse: Callable[[str], T] | None = None, metavar: str | None = None) -> T:
    """Declare a field of a source that ``fusionln cohort import`` takes as an option of that source.

    Args:
        default: Value without the option; None or empty, where ``help_text`` states the default.
        help_text: One line of help.
        parse: Reads the text of the option; without it the text is the value.
        metavar: Placeholder of the value in the help.
    """
    return field(default=default, metadata={"help": help_text, "parse": parse, "metavar": metavar})


def options_of(source: type[Source]) -> list["Field[object]"]:
    """List the fields of a source that were declared with `option`."""
    return [each for each in fields(source) if "help" in each.metadata]


def source_names() -> list[str]:
    """List the sources, sorted, without importing them."""
    return sorted(path.stem for path in SOURCES.glob("*.py") if not path.stem.startswith("_"))


def source_titles() -> dict[str, str]:
    """Read the title of every source, the first line of its file, without importing it."""
    files = {name: SOURCES / f"{name}.py" for name in source_names()}
    texts = {name: ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) for name, file in files.items()}
    return {name: (text or name).partition("\n")[0] for name, text in texts.items()}


def find_source(name: str) -> type[Source]:
    """Import the class of a source from the file of its name.

    Raises:
        SettingsError: If there is no such source.
    """
    if name not in source_names():
        raise SettingsError(*unknown("source", name, source_names()))
    module = importlib.import_module(f"fusion_ln.cohort.sources.{name}")
    [found] = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Source) and each.__module__ == module.__name__
    ]
    return found


def open_source(name: str, src: Path, **options: object) -> Source:
    """Open the raw folder or file ``src`` with the source ``name``.

    Raises:
        SettingsError: If there is no such source, or it has no such option.
    """
    source = find_source(name)
    known = {each.name for each in options_of(source)}
    for given in options:
        if given not in known:
            raise SettingsError(f"source {name}: takes no `--{given.replace('_', '-')}`.", "Leave the option out.")
    build: Callable[..., Source] = source
    return build(src, **options)


def find_layout(folder: Path, fits: Callable[[Path], bool], layout: str) -> Path:
    """Find the folder of a layout: ``folder`` itself or one at most two levels below it.

    Raises:
        SourceError: If ``folder`` is missing or empty, or none or several folders fit.
    """
    way_out = f"Expected: {layout}"
    if not folder.is_dir():
        reason = "is a file, not a folder" if folder.exists() else "no such folder"
        raise SourceError(f"{folder}: {reason}.", way_out)
    level = [folder]
    for _ in range(3):
        if found := [place for place in level if fits(place)]:
            if len(found) > 1:
                names = ", ".join(str(place) for place in found[:NAMED_AT_MOST])
                raise SourceError(f"{folder}: several folders look like the archive ({names}).", "Give one as SRC.")
            return found[0]
        level = [child for place in level for child in subfolders(place)]
    empty = not any(folder.iterdir())
    raise SourceError(f"{folder}: {'empty' if empty else 'not laid out as expected'}.", way_out)


def subfolders(folder: Path) -> list[Path]:
    """List the folders in ``folder``, in natural order; hidden ones are left out."""
    return sorted(
        (child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")), key=natural
    )


def pictures_in(folder: Path) -> list[Path]:
    """List the files in ``folder`` that should be pictures, in natural order; hidden ones are left out.

    Those of a kind that is not read are among them: reading names and refuses them, so that none is lost in silence.
    """
    files = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return sorted((path for path in files if looks_like_picture(path)), key=natural)


def refuse_same_stems(paths: Sequence[Path], expected: str) -> None:
    """Refuse two files of one name but for the suffix, as ``1.jpg`` and ``1.png``, where the name is the patient.

    Raises:
        SourceError: Naming the first two.
    """
    first: dict[str, Path] = {}
    for path in paths:
        if (other := first.setdefault(path.stem, path)) != path:
            raise SourceError(
                f"{other} and {path.name}: two files of one name; expected: {expected}.",
                "Remove the one that does not belong there, or rename it.",
            )


def natural(path: Path | str) -> list[tuple[int, str]]:
    """Make a sorting key that puts ``benign (2)`` before ``benign (10)``."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def bullet_list(offenders: Collection[object]) -> str:
    """List the first few offenders, a line each, and how many more there are."""
    text = "\n".join(f"    {offender}" for offender in list(offenders)[:NAMED_AT_MOST])
    more = len(offenders) - NAMED_AT_MOST
    return text + (f"\n    ... and {more} more" if more > 0 else "")
