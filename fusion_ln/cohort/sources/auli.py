"""AULI: liver ultrasound with outlines beside the pictures."""

from dataclasses import dataclass

from fusion_ln.cohort.source import Archive, ImageRow, Source, bullet_list, find_layout, pictures_in, refuse_same_stems

FOLDERS = {"Benign": "benign", "Malignant": "malignant", "Normal": "normal"}
OUTLINES = ("outline", "liver", "mass")  # a normal liver has no mass
LAYOUT = "{Benign,Malignant,Normal}/image/<n>.jpg (outlines: <Class>/segmentation/{outline,liver,mass}/<n>.json)"


@dataclass(frozen=True)
class AULI(Source):
    """AULI (Xu et al. 2023): ``{Benign,Malignant,Normal}/image/<n>.jpg``, one picture per patient.

    The outlines (``<Class>/segmentation/<what>/<n>.json``) are not needed to tell the classes apart; a remark
    names those that are missing.
    """

    def read(self) -> Archive:
        """Find the pictures; see `Source.read`."""
        root = find_layout(
            self.root, lambda folder: any((folder / name / "image").is_dir() for name in FOLDERS), LAYOUT
        )
        images, lacking = [], []
        for folder, label in FOLDERS.items():
            place = root / folder / "image"
            pictures = pictures_in(place) if place.is_dir() else []
            refuse_same_stems(pictures, "one picture per patient")
            for path in pictures:
                images.append(ImageRow(f"{folder}/{path.stem}", label, "2d", path))
                due = OUTLINES[:2] if label == "normal" else OUTLINES
                outlines = (root / folder / "segmentation" / what / f"{path.stem}.json" for what in due)
                lacking += [outline.relative_to(root).as_posix() for outline in outlines if not outline.is_file()]
        remarks = (f"{len(lacking)} outlines are missing:\n{bullet_list(lacking)}",) if lacking else ()
        return Archive(root, tuple(FOLDERS.values()), ("2d",), images, remarks=remarks)
