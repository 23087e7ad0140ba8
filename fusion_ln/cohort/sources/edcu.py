"""EDCU (EchoNet-Dynamic): videos of the heart with the ejection fraction."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from fusion_ln.cohort.source import Archive, ImageRow, Source, find_layout, option
from fusion_ln.decode.table import read_table
from fusion_ln.errors import PictureError, SettingsError, SourceError
from fusion_ln.manifests import load_manifest

TABLE, VIDEOS = "FileList.csv", "Videos"
LAYOUT = f"{TABLE} (columns FileName, EF) beside {VIDEOS}/<FileName>.avi"


def parse_cut_points(text: str) -> tuple[float, ...]:
    """Read ``40,50``."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"--cut-points {text!r}: expected numbers, separated by commas.") from None


@dataclass(frozen=True)
class EDCU(Source):
    """EchoNet-Dynamic (Ouyang et al. 2020): ``FileList.csv`` with the ejection fraction, ``Videos/<FileName>.avi``.

    One video per patient.

    Attributes:
        cut_points: Ejection fractions [%] between the classes, rising; a value on a cut point belongs above it.
            Without them the manifest's.
    """

    cut_points: tuple[float, ...] = option(
        (), "Ejection fractions between the classes.  [default: 40,50]", parse=parse_cut_points, metavar="EF,..."
    )
    default_frames: ClassVar[str] = "4"

    def read(self) -> Archive:
        """Find the pictures; see `Source.read`."""
        cuts = self._cuts()
        root = find_layout(self.root, lambda folder: (folder / TABLE).is_file(), LAYOUT)
        classes = _class_names(cuts)
        images, unusable = [], []
        for line, name, ef in self._lines(root / TABLE):
            path = root / VIDEOS / f"{name}.avi"
            if problem := _problem(path, ef):
                unusable.append((f"{VIDEOS}/{path.name}", PictureError(f"{root / TABLE}, line {line}: {problem}.", "")))
            else:
                label = classes[sum(float(ef) >= cut for cut in cuts)]
                images.append(ImageRow(name, label, "2d", path))
        remark = f"Labels by ejection fraction: {', '.join(classes)} %."
        return Archive(root, classes, ("2d",), images, remarks=(remark,), unusable=tuple(unusable))

    def _cuts(self) -> tuple[float, ...]:
        cuts = self.cut_points or tuple(load_manifest(self.name)["labels"]["cut_points"])
        if list(cuts) != sorted(set(cuts)) or not all(0 < cut < 100 for cut in cuts):
            raise SettingsError(f"--cut-points {cuts}: expected rising numbers between 0 and 100, such as 40,50.")
        return cuts

    def _lines(self, path: Path) -> list[tuple[int, str, str]]:
        """Read line, file name, without a suffix that some copies of the table have, and ejection fraction."""
        table = read_table(path, LAYOUT).with_names(("FileName", "EF"))
        if missing := [column for column in ("FileName", "EF") if column not in table.columns]:
            raise SourceError(f"{path}: no column {missing[0]!r}; it has {', '.join(table.columns)}.", LAYOUT)
        names = table.cells["FileName"].str.removesuffix(".avi")
        if (twice := names.duplicated()).any():
            raise SourceError(f"{path}: {names[twice].iloc[0]!r} stands in it twice.", "Keep one of the lines.")
        return list(zip(names.index, names, table.cells["EF"], strict=True))


def _class_names(cuts: tuple[float, ...]) -> tuple[str, ...]:
    """Name the classes: ``EF below 40``, ``EF 40 to 50``, ``EF from 50``."""
    values = [f"{cut:g}" for cut in cuts]
    between = [f"EF {low} to {high}" for low, high in pairwise(values)]
    return (f"EF below {values[0]}", *between, f"EF from {values[-1]}")


def _problem(video: Path, ef: str) -> str:
    """Describe the problem of a line of the table; empty if there is none."""
    if not video.is_file():
        return f"the video {VIDEOS}/{video.name} is missing"
    try:
        value = float(ef)
    except ValueError:
        return f"the ejection fraction {ef!r} of {video.name} is no number"
    return "" if 0 <= value <= 100 else f"the ejection fraction {ef} of {video.name} is not between 0 and 100 %"
