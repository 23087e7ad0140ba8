"""LymphUs: cervical lymph nodes of two centres in grey scale, with masks beside the pictures."""

import re
from dataclasses import dataclass
from pathlib import Path

from fusion_ln.cohort.source import Archive, ImageRow, Source, bullet_list, find_layout, pictures_in, subfolders
from fusion_ln.errors import SourceError

CLASSES = {"Benign": "benign", "Malignant": "malignant"}
CENTRE = re.compile(r"Center[ _-](\d+)", re.IGNORECASE)
# A case's picture, the outline of its node, and the picture cut out by it.
FILE = re.compile(r"(\d+) (Benign|Malignant) (Image|Mask|Lesion)")
LAYOUT = "Center {1,2}/{Benign,Malignant}/<n> {Benign,Malignant} Image.bmp (beside it <n> ... Mask.tif and Lesion.bmp)"


@dataclass(frozen=True)
class LymphUs(Source):
    """LymphUs (Mohammadi et al. 2026): ``Center <c>/<Class>/<n> <Class> Image.bmp``, one picture per patient.

    Masks and cut-out nodes are left out. Numbers start anew in each class and each centre, so the patient is
    ``1/Benign/12``; the centre is the site. A workbook of findings lies in each centre's folder; it is not read.
    """

    def read(self) -> Archive:
        """Find the pictures; see `Source.read`."""
        root = find_layout(self.root, lambda folder: bool(self._centres(folder)), LAYOUT)
        images: list[ImageRow] = []
        for number, centre in self._centres(root).items():
            for folder, label in CLASSES.items():
                place = centre / folder
                images += self._pictures(place, number, folder, label) if place.is_dir() else []
        if not images:
            raise SourceError(f"{root}: no pictures in its class folders.", f"Expected: {LAYOUT}")
        books = [book.relative_to(root).as_posix() for book in sorted(root.rglob("*.xlsx"))]
        remarks = (f"What radiologists read of each node is not imported:\n{bullet_list(books)}",) if books else ()
        return Archive(root, tuple(CLASSES.values()), ("2d",), images, remarks=remarks)

    def _centres(self, folder: Path) -> dict[str, Path]:
        """Find the folders of the centres by their numbers."""
        named = {found[1]: child for child in subfolders(folder) if (found := CENTRE.fullmatch(child.name))}
        return {number: child for number, child in named.items() if any((child / name).is_dir() for name in CLASSES)}

    def _pictures(self, place: Path, centre: str, folder: str, label: str) -> list[ImageRow]:
        rows = []
        for path in pictures_in(place):
            found = FILE.fullmatch(path.stem)
            if not found or found[2] != folder:
                raise SourceError(f"{path}: unknown name {path.stem!r}.", f"Expected: {LAYOUT}")
            if found[3] == "Image":
                rows.append(ImageRow(f"{centre}/{folder}/{found[1]}", label, "2d", path, site=f"Center {centre}"))
        return rows
