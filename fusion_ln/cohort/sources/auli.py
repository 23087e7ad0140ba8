"""AULI: liver ultrasound with outlines beside the pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fusion_ln.cohort.sources.rows import Archive, ImageRow, find_layout, named, pictures_in

FOLDERS = {"Benign": "benign", "Malignant": "malignant", "Normal": "normal"}
OUTLINES = ("outline", "liver", "mass")  # a normal liver has no mass
LAYOUT = "{Benign,Malignant,Normal}/image/<n>.jpg (outlines: <Class>/segmentation/{outline,liver,mass}/<n>.json)"


@dataclass(frozen=True)
class AULI:
    """AULI (Xu et al. 2023): ``{Benign,Malignant,Normal}/image/<n>.jpg``, one picture per patient.

    The outlines (``<Class>/segmentation/<what>/<n>.json``) are not needed to tell the classes apart; which pictures
    lack one is said.
    """

    root: Path
    name: ClassVar[str] = "auli"

    def read(self) -> Archive:
        """See `Source.read`."""
        root = find_layout(
            self.root, lambda folder: any((folder / name / "image").is_dir() for name in FOLDERS), LAYOUT
        )
        images, lacking = [], []
        for folder, label in FOLDERS.items():
            place = root / folder / "image"
            for path in pictures_in(place) if place.is_dir() else []:
                images.append(ImageRow(f"{folder}/{path.stem}", label, "2d", path))
                due = OUTLINES[:2] if label == "normal" else OUTLINES
                outlines = (root / folder / "segmentation" / what / f"{path.stem}.json" for what in due)
                lacking += [outline.relative_to(root).as_posix() for outline in outlines if not outline.is_file()]
        remarks = (f"{len(lacking)} outlines are missing:\n{named(lacking)}",) if lacking else ()
        return Archive(root, tuple(FOLDERS.values()), ("2d",), images, remarks=remarks)
