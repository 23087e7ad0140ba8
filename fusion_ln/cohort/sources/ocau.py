"""OCAU (USAnotAI): ultrasound of six abdominal organs."""

from dataclasses import dataclass
from pathlib import Path

from fusion_ln.cohort.source import Archive, ImageRow, Source, find_layout, pictures_in
from fusion_ln.errors import SourceError

CLASSES = ("bladder", "bowel", "gallbladder", "kidney", "liver", "spleen")
GIVEN_PARTS = ("train", "test")
LAYOUT = f"{{train,test}}/<organ>-<n>.png, organ one of {', '.join(CLASSES)}"


@dataclass(frozen=True)
class OCAU(Source):
    """OCAU (USAnotAI, SIIM 2019): ``{train,test}/<organ>-<n>.png``, some with two dashes; the given split leaks.

    There are no patient ids and the pictures are frames of few sweeps, so both parts are taken together and pictures of
    an organ that look alike become one patient.
    """

    def read(self) -> Archive:
        """Find the pictures; see `Source.read`."""
        root = find_layout(self.root, lambda folder: any((folder / part).is_dir() for part in GIVEN_PARTS), LAYOUT)
        paths = [path for part in GIVEN_PARTS if (root / part).is_dir() for path in pictures_in(root / part)]
        images = [ImageRow(None, _organ(path), "2d", path) for path in paths]
        return Archive(root, CLASSES, ("2d",), images)


def _organ(path: Path) -> str:
    organ = path.stem.split("-")[0]  # not from the right: liver--0056.png
    if organ not in CLASSES:
        raise SourceError(f"{path}: unknown organ {organ!r}.", f"Expected: {LAYOUT}")
    return organ
