"""DDTI: thyroid nodules with a TI-RADS category per case."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from fusion_ln.cohort.source import Archive, ImageRow, Source, find_layout, natural, option, pictures_in
from fusion_ln.errors import PictureError, SettingsError
from fusion_ln.manifests import load_manifest

CATEGORIES = ("1", "2", "3", "4a", "4b", "4c", "5")  # TI-RADS, from the least to the most suspicious
CLASSES = ("benign", "malignant")
LAYOUT = "<case>.xml beside <case>_<n>.jpg, the TI-RADS category in the XML's element <tirads>"
PICTURE_NAME = re.compile(r"^(\d+)_\w+$")


@dataclass(frozen=True)
class DDTI(Source):
    """DDTI (Pedraza et al. 2015): ``<case>.xml`` with ``<tirads>``, and its pictures ``<case>_<n>.jpg``.

    Attributes:
        malignant_from: The lowest TI-RADS category that counts as malignant; without it the manifest's.
    """

    malignant_from: str | None = option(None, "Lowest category that is malignant.  [default: 4a]", metavar="TI-RADS")

    def read(self) -> Archive:
        """Find the pictures; see `Source.read`."""
        threshold = self._threshold()
        root = find_layout(self.root, lambda folder: any(folder.glob("*.xml")), LAYOUT)
        images, unusable = [], []
        for case, paths in _cases(root):
            category = _category(root / f"{case}.xml", paths)
            if isinstance(category, PictureError):
                unusable += [(path.name, category) for path in paths] or [(f"{case}.xml", category)]
            else:
                label = CLASSES[CATEGORIES.index(category) >= CATEGORIES.index(threshold)]
                images += [ImageRow(case, label, "2d", path) for path in paths]
        remark = f"Labels: TI-RADS below {threshold} is benign, {threshold} and above malignant."
        return Archive(root, CLASSES, ("2d",), images, remarks=(remark,), unusable=tuple(unusable))

    def _threshold(self) -> str:
        threshold = self.malignant_from or str(load_manifest(self.name)["labels"]["malignant_from"])
        if threshold.lower() not in CATEGORIES[1:]:
            raise SettingsError(
                f"--malignant-from {threshold!r}: not a TI-RADS category.", f"Choose from {', '.join(CATEGORIES[1:])}."
            )
        return threshold.lower()


def _cases(root: Path) -> Iterator[tuple[str, list[Path]]]:
    """List every case that has an XML file or pictures, with its pictures, in natural order."""
    pictures: dict[str, list[Path]] = {}
    for path in pictures_in(root):
        found = PICTURE_NAME.match(path.stem)
        pictures.setdefault(found[1] if found else path.stem, []).append(path)
    cases = {path.stem for path in root.glob("*.xml")} | set(pictures)
    for case in sorted(cases, key=natural):
        yield case, pictures.get(case, [])


def _category(path: Path, pictures: list[Path]) -> str | PictureError:
    """Read the TI-RADS category of a case; an error states why its pictures have no label."""
    way_out = "Complete the archive or mend the XML."
    if not pictures:
        return PictureError(f"{path}: has no picture {path.stem}_<n>.jpg.", way_out)
    try:
        text = ET.parse(path).findtext(".//tirads")
    except (OSError, ET.ParseError) as error:
        reason = "is missing" if isinstance(error, OSError) else f"is no valid XML ({error})"
        return PictureError(f"{path}: {reason}, so its {len(pictures)} pictures have no label.", way_out)
    category = (text or "").strip().lower()
    if not category:
        return PictureError(f"{path}: without TI-RADS, so its {len(pictures)} pictures have no label.", way_out)
    if category not in CATEGORIES:
        return PictureError(f"{path}: unknown TI-RADS {category!r} (known: {', '.join(CATEGORIES)}).", way_out)
    return category
