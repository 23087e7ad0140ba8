"""The paper's own archive: cervical lymph nodes, three modalities."""

import re
from dataclasses import dataclass
from typing import ClassVar

from fusion_ln.cohort.source import Archive, ImageRow, Source, find_layout, option, pictures_in
from fusion_ln.errors import SettingsError, SourceError

MODALITIES = ("2d", "cdfi", "elastic")
LAYOUT = "{2d,cdfi,elastic}/{0,1,2}/<patient>-<image>.jpg (0 benign, 1 lymphoma, 2 metastatic)"


@dataclass(frozen=True)
class CV4LymphNode(Source):
    """Jiang et al. 2025 (Zenodo 12702916): ``{2d,cdfi,elastic}/{0,1,2}/<patient>-<image>.jpg``.

    Nothing in public says how a patient's three pictures are linked. The part of the file name before the dash is
    taken for the patient, within its class folder: ``elastic/1/171-3.jpg`` is patient ``1/171``.

    Attributes:
        patient_pattern: Regular expression with one group, searched in the file name without its suffix; the group is
            the patient.
    """

    patient_pattern: str = option(
        r"^([^-]+)", "Regular expression whose one group is the patient in a file name.", metavar="REGEX"
    )
    classes: ClassVar[dict[str, str]] = {"0": "benign", "1": "lymphoma", "2": "metastatic"}

    def read(self) -> Archive:
        """Find the pictures; see `Source.read`."""
        pattern = self._compiled()
        root = find_layout(self.root, lambda folder: any((folder / name).is_dir() for name in MODALITIES), LAYOUT)
        images = []
        for modality in MODALITIES:
            for folder, label in self.classes.items():
                place = root / modality / folder
                for path in pictures_in(place) if place.is_dir() else []:
                    found = pattern.search(path.stem)
                    if not found or not found[1]:
                        raise SourceError(
                            f"{path}: the pattern {self.patient_pattern!r} finds no patient in {path.stem!r}.",
                            "Choose another `--patient-pattern`.",
                        )
                    images.append(ImageRow(f"{folder}/{found[1]}", label, modality, path))
        if not images:
            raise SourceError(f"{root}: no pictures in its class folders.", f"Expected: {LAYOUT}")
        return Archive(root, tuple(self.classes.values()), MODALITIES, images)

    def _compiled(self) -> re.Pattern[str]:
        try:
            pattern = re.compile(self.patient_pattern)
        except re.error as error:
            raise SettingsError(f"--patient-pattern {self.patient_pattern!r}: {error}.") from None
        if pattern.groups != 1:
            raise SettingsError(
                f"--patient-pattern {self.patient_pattern!r}: has {pattern.groups} groups, expected one.",
                "Put parentheses around the patient, e.g. '^([^-]+)-'.",
            )
        return pattern
