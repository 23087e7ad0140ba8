"""BUSI: breast ultrasound with masks beside the pictures."""

import re
from dataclasses import dataclass

from fusion_ln.cohort.source import Archive, ImageRow, Source, find_layout, pictures_in

CLASSES = ("benign", "malignant", "normal")
LAYOUT = "Dataset_BUSI_with_GT/{benign,malignant,normal}/<class> (<n>).png"
MASK = re.compile(r"_mask(_\d+)?$")


@dataclass(frozen=True)
class BUSI(Source):
    """BUSI (Al-Dhabyani et al. 2020): ``<class>/<class> (N).png``; masks (``_mask.png``, ``_mask_1.png``) are left out.

    There are no patient ids: pictures of a class that look alike become one patient.
    """

    def read(self) -> Archive:
        """Find the pictures; see `Source.read`."""
        root = find_layout(self.root, lambda folder: any((folder / name).is_dir() for name in CLASSES), LAYOUT)
        images = [
            ImageRow(None, label, "2d", path)
            for label in CLASSES
            if (root / label).is_dir()
            for path in pictures_in(root / label)
            if not MASK.search(path.stem)
        ]
        return Archive(root, CLASSES, ("2d",), images)
