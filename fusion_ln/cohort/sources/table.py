"""A cohort of one's own, described by a CSV file."""

import csv
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fusion_ln.cohort.source import Archive, ImageRow, Source, bullet_list, natural, option
from fusion_ln.decode.picture import looks_like_picture
from fusion_ln.errors import SettingsError, SourceError
from fusion_ln.terms import KNOWN_MODALITIES, LABEL, MODALITY, PATH, PATIENT, SITE, VIEW

LAYOUT = (
    "one row per patient (patient_id,label and a column of paths per modality, such as 2d,cdfi,elastic) or one per "
    "picture (patient_id,label,modality,path and, if wanted, view); a site and clinical columns may follow"
)
Line = tuple[int, dict[str, str]]  # number in the file, cells by column


def parse_classes(text: str) -> tuple[str, ...]:
    """Read ``benign,malignant``."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) != len(names) or len(names) < 2:
        raise SettingsError(f"--classes {text!r}: expected two or more different names, separated by commas.")
    return names


@dataclass(frozen=True)
class Table(Source):
    """A CSV with one row per patient or one row per picture; paths are relative to the CSV's folder.

    Attributes:
        classes: The classes in the order of their labels, so that a label may be a name or a number; without
            them, the labels of the file in natural order.
    """

    classes: tuple[str, ...] = option(
        (), "Classes, in the order of their numbers.", parse=parse_classes, metavar="A,B,..."
    )

    def read(self) -> Archive:
        """Find the pictures; see `Source.read`."""
        columns, lines = _read_lines(self.root)
        per_image = MODALITY in columns and PATH in columns
        pictured = [] if per_image else self._picture_columns(columns, lines)
        _need_columns(self.root, columns, per_image or bool(pictured))
        classes = self.classes or tuple(sorted({cells[LABEL] for _, cells in lines}, key=natural))
        rows = [row for line in lines for row in self._rows(line, pictured, classes)]
        self._refuse_two_labels(rows)
        self._refuse_repeats(rows)
        self._refuse_missing(rows)
        images = [row for _, row in rows]
        found = {row.modality for row in images}
        modalities = [*(name for name in KNOWN_MODALITIES if name in found), *sorted(found - set(KNOWN_MODALITIES))]
        used = {PATIENT, LABEL, SITE, *((MODALITY, PATH, VIEW) if per_image else pictured)}
        clinical, remarks = _clinical(lines, [column for column in columns if column not in used])
        return Archive(self.root.parent, classes, tuple(modalities), images, clinical, remarks)

    def _picture_columns(self, columns: Sequence[str], lines: Sequence[Line]) -> list[str]:
        """Find the columns of a table with one row per patient that hold paths of pictures: each is a modality.

        A column named as a known modality is one; any other, if all its filled cells look like pictures.
        """

        def holds_pictures(column: str) -> bool:
            paths = [self.root.parent / cells[column] for _, cells in lines if cells[column]]
            return bool(paths) and all(map(looks_like_picture, paths))

        others = (column for column in columns if column not in {PATIENT, LABEL, SITE, *KNOWN_MODALITIES})
        return [*(name for name in KNOWN_MODALITIES if name in columns), *filter(holds_pictures, others)]

    def _rows(self, line: Line, pictured: Sequence[str], classes: Sequence[str]) -> list[tuple[int, ImageRow]]:
        """List the pictures of a line: those in the columns ``pictured`` or, with none, the line's only one."""
        number, cells = line
        per_image = not pictured
        for column in (PATIENT, LABEL):
            if not cells[column]:
                raise SourceError(f"{self._at(number)}: no {column}.", "Fill it in or remove the line.")
        label = self._label(number, cells[LABEL], classes)
        listed = [(cells[MODALITY], cells[PATH])] if per_image else [(name, cells[name]) for name in pictured]
        rows = []
        for modality, path in listed:
            if not path and not per_image:
                continue  # the patient has no picture of this modality
            if not path or not modality:
                raise SourceError(f"{self._at(number)}: no {MODALITY if path else PATH}.", "Fill it in.")
            view = self._view(number, cells[VIEW]) if per_image and VIEW in cells else None
            place = self._place(number, path)
            rows.append((number, ImageRow(cells[PATIENT], label, modality, place, view, cells.get(SITE, ""))))
        if not rows:
            raise SourceError(f"{self._at(number)}: patient {cells[PATIENT]} has no picture.", "Remove the line.")
        return rows

    def _label(self, number: int, text: str, classes: Sequence[str]) -> str:
        if text in classes:
            return text
        if text.isdecimal() and int(text) < len(classes):
            return classes[int(text)]
        raise SourceError(
            f"{self._at(number)}: unknown label {text!r}.",
            f"Known: {', '.join(classes)}, or their numbers 0 to {len(classes) - 1} (see `--classes`).",
        )

    def _view(self, number: int, text: str) -> int:
        if not text.isdecimal():
            raise SourceError(f"{self._at(number)}: view {text!r} is not a whole number.", "Number the views from 0.")
        return int(text)

    def _place(self, number: int, text: str) -> Path:
        place = self.root.parent / text
        if not place.resolve().is_relative_to(self.root.parent.resolve()):
            raise SourceError(
                f"{self._at(number)}: {text} leads out of the folder {self.root.parent}.",
                "Put the CSV file into the folder that holds all the pictures.",
            )
        return place

    def _refuse_two_labels(self, rows: Sequence[tuple[int, ImageRow]]) -> None:
        first: dict[str | None, tuple[int, str]] = {}
        for number, row in rows:
            before, label = first.setdefault(row.patient_id, (number, row.label))
            if row.label != label:
                raise SourceError(
                    f"{self.root}: patient {row.patient_id} is {label} in line {before}, {row.label} in line {number}.",
                    "A patient has one label: mend one of the lines.",
                )

    def _refuse_repeats(self, rows: Sequence[tuple[int, ImageRow]]) -> None:
        first: dict[Path, int] = {}
        for number, row in rows:
            if row.path in first:
                raise SourceError(
                    f"{self.root}: picture {row.path} stands in line {first[row.path]} and in line {number}.",
                    "A picture belongs to one patient and one modality: mend one of the lines.",
                )
            first[row.path] = number

    def _refuse_missing(self, rows: Sequence[tuple[int, ImageRow]]) -> None:
        if missing := [f"line {number}: {row.path}" for number, row in rows if not row.path.is_file()]:
            raise SourceError(
                f"{self.root}: pictures that do not exist ({len(missing)}):\n{bullet_list(missing)}",
                f"Paths are relative to {self.root.parent}.",
            )

    def _at(self, number: int) -> str:
        return f"{self.root}, line {number}"


def _read_lines(path: Path) -> tuple[list[str], list[Line]]:
    """Read columns and filled lines; commas, semicolons or tabs, whichever the header has most of."""
    if not path.is_file():
        reason = "is a folder" if path.is_dir() else "no such file"
        raise SourceError(f"{path}: {reason}.", f"Give a CSV file: {LAYOUT}.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=header.count), skipinitialspace=True)
            columns = [name.strip() for name in next(reader, [])]
            lines = [
                (reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells))
            ]
    except UnicodeDecodeError:
        raise SourceError(f"{path}: not UTF-8 text.", "Save it as CSV with UTF-8 encoding.") from None
    except csv.Error as error:
        raise SourceError(f"{path}: not a CSV file ({error}).", f"Expected {LAYOUT}.") from None
    if not lines:
        raise SourceError(f"{path}: {'no patients below its header' if columns else 'empty'}.", f"Expected {LAYOUT}.")
    if twice := [name for name in columns if columns.count(name) > 1]:
        raise SourceError(f"{path}: column {twice[0]!r} stands in it twice.", "Rename or remove one of them.")
    for number, cells in lines:
        if len(cells) != len(columns):
            raise SourceError(
                f"{path}, line {number}: {len(cells)} cells, but the header has {len(columns)} columns.",
                "Put quotes around a cell that holds the separator.",
            )
    return columns, [(number, dict(zip(columns, cells, strict=True))) for number, cells in lines]


def _need_columns(path: Path, columns: Sequence[str], has_pictures: bool) -> None:
    missing = [column for column in (PATIENT, LABEL) if column not in columns]
    if not missing and not has_pictures:
        missing = [f"{MODALITY} and {PATH}, and none of pictures ({', '.join(KNOWN_MODALITIES)} or another modality)"]
    if missing:
        raise SourceError(f"{path}: no column {missing[0]}; it has {', '.join(columns)}.", f"Expected {LAYOUT}.")


def _clinical(lines: Sequence[Line], columns: Sequence[str]) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Collect the further columns, one row per patient; one that differs between a patient's lines is left out."""
    table = pd.DataFrame([cells for _, cells in lines])[[PATIENT, *columns]].replace("", None)
    by_patient = table.groupby(PATIENT, sort=True)
    mixed = [column for column in columns if by_patient[column].nunique().max() > 1]
    remarks = tuple(f"Column {name!r} differs between lines of one patient: left out." for name in mixed)
    kept = [column for column in columns if column not in mixed]
    if not kept:
        return None, remarks
    clinical = by_patient[kept].first().reset_index()
    for column in kept:
        with suppress(ValueError, TypeError):  # text stays text
            clinical[column] = pd.to_numeric(clinical[column])
    return clinical, remarks
