"""Cropping of a whole archive: given boxes before rules, frames that pictures share, files that show two modalities."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from fusion_ln.cohort.regions.box import Box, is_pixels
from fusion_ln.cohort.regions.rule import CropRule, Found, FoundBy, given
from fusion_ln.cohort.regions.screen import FEWEST, find_unframed
from fusion_ln.decode.limits import MIN_SIDE
from fusion_ln.decode.table import read_table
from fusion_ln.errors import SourceError
from fusion_ln.records.parts import GIVEN
from fusion_ln.terms import MODALITY, PATH

Key = tuple[str, str]  # path, relative to the archive, and modality
BOX_COLUMNS = ("x", "y", "width", "height")
FOUND_BOX, FOUND_AS = "found_box", "found_as"  # as it was before somebody looked at it
OVERLAP = 0.1  # largest share of the smaller of two panes that also lies in the other
LAYOUT = f"Expected: columns {PATH}, {MODALITY}, {', '.join(BOX_COLUMNS)}, as `fusionln cohort check` writes crops.csv."


class Accepted(NamedTuple):
    """A box that somebody looked at; ``by`` is how it was found if it was left as it was."""

    box: Box
    by: FoundBy


@dataclass(frozen=True)
class Cropping:
    """Rules and boxes by which the pictures of an archive are cut out of their files.

    Attributes:
        rule: Of pictures for which no box was given.
        accepted: Boxes that somebody looked at.
        mask_text: Fill texts within the pictures.
    """

    rule: CropRule = field(default_factory=CropRule)
    accepted: Mapping[Key, Accepted] = field(default_factory=dict)
    mask_text: bool = False

    @property
    def cuts(self) -> bool:
        """True if the cohort's pictures have boxes."""
        return self.rule.method != "none" or bool(self.accepted)

    @property
    def n_corrected(self) -> int:
        """Number of boxes that somebody gave or changed."""
        return sum(each.by == "accepted" for each in self.accepted.values())

    @property
    def word(self) -> str:
        """The rule as text; `GIVEN` where boxes were given alone."""
        return GIVEN if self.rule.method == "none" and self.accepted else str(self.rule)

    def find(self, path: Path, key: Key, pixels: np.ndarray, stated: Box | None, *, shared: bool) -> Found:
        """Find a picture in its file; a box of ``accepted``, or ``stated`` in the table, goes before the rule.

        Raises:
            PictureError: See `CropRule.find`.
        """
        if known := self.accepted.get(key):
            return replace(given(path, known.box, pixels, known.by), is_fixed=True)
        if stated:
            return given(path, stated, pixels, "table")
        return self.rule.find(path, pixels, key[1], shared=shared)


@dataclass
class SharedFrame:
    """Frame that never changes between the screens of one size and modality, gathered picture by picture."""

    patients: set[str] = field(default_factory=set)
    extremes: tuple[np.ndarray, np.ndarray] | None = None
    unframed: dict[tuple[int, int], Box | None] = field(default_factory=dict)  # by size, while no picture is added

    def add(self, patient: str, found: Found) -> Found:
        """Look at the first picture of each patient; returns what was found without its cells."""
        if found.cells is not None and patient not in self.patients:
            self.patients.add(patient)
            lowest, highest = self.extremes or (found.cells, found.cells)
            self.extremes = np.minimum(lowest, found.cells), np.maximum(highest, found.cells)
            self.unframed.clear()
        return replace(found, cells=None)

    def cut(self, found: Found, size: tuple[int, int]) -> Found:
        """Take off what the pictures share."""
        by_pixels = found.by in ("screen", "whole") and not found.is_fixed
        if not by_pixels or self.extremes is None or len(self.patients) < FEWEST:
            return found
        if size not in self.unframed:
            self.unframed[size] = find_unframed(*self.extremes, size)
        inner = self.unframed[size]
        common = found.box.intersection(inner) if inner else found.box
        if common == found.box or min(common.width, common.height) < MIN_SIDE:
            return found
        return replace(found, box=common, by="frame")


def refuse_shared_boxes(boxes: Sequence[tuple[str, str, Box]]) -> None:
    """Refuse two modalities that have next to the same box of one file.

    Args:
        boxes: Path, modality and box of every picture.

    Raises:
        SourceError: Naming the first pair.
    """
    by_path: dict[str, list[tuple[str, Box]]] = defaultdict(list)
    for path, modality, box in boxes:
        for other, taken in by_path[path]:
            if box.common(taken) > OVERLAP * min(box.area, taken.area):
                raise SourceError(
                    f"{path}: box {taken} of {other} and box {box} of {modality} overlap; expected two panes.",
                    "Give each a box of its own, in the table (columns `box:MODALITY`) or with `--accept FILE`.",
                )
        by_path[path].append((modality, box))


def describe_boxes(boxes: Sequence[Found]) -> str:
    """Count the boxes by how they were found: ``screen 30, whole 12``."""
    return ", ".join(f"{by} {count}" for by, count in Counter(found.by for found in boxes).most_common())


def read_accepted(file: Path) -> dict[Key, Accepted]:
    """Read boxes that somebody looked at and, where it was needed, corrected.

    Where the table tells the box that was found (`FOUND_BOX`, `FOUND_AS`), those that are still the same keep how they
    were found.

    Raises:
        SourceError: If the file is no such table; names the line.
    """
    table = read_table(file, LAYOUT).with_names((PATH, MODALITY, *BOX_COLUMNS, FOUND_BOX, FOUND_AS))
    if missing := [column for column in (PATH, MODALITY, *BOX_COLUMNS) if column not in table.columns]:
        raise SourceError(f"{file}: no column {missing[0]!r}; it has {', '.join(table.columns)}.", LAYOUT)
    accepted: dict[Key, Accepted] = {}
    cells = table.cells.reindex(columns=[PATH, MODALITY, FOUND_BOX, FOUND_AS, *BOX_COLUMNS], fill_value="")
    for line, path, modality, before, found_as, *numbers in cells.itertuples():
        wrong = [text for text in numbers if not is_pixels(text)]
        if wrong:
            raise SourceError(f"{file}, line {line}: {wrong[0]!r} is no whole number of pixels.", LAYOUT)
        if (path, modality) in accepted:
            raise SourceError(f"{file}, line {line}: {path} of {modality} stands in it twice.", "Remove one line.")
        box = Box(*map(int, numbers))
        kept = [by for by in get_args(FoundBy) if by == found_as and str(box) == before]
        accepted[path, modality] = Accepted(box, kept[0] if kept else "accepted")
    return accepted
