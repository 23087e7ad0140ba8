"""A cohort of one's own, described by a CSV or Excel file."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fusion_ln.cohort.regions.box import Box, parse_box
from fusion_ln.cohort.source import Archive, ImageRow, Source, bullet_list, natural, option
from fusion_ln.decode.columns import GAPS, PICTURES, Column, describe_columns, find_picture, is_gap, read_columns
from fusion_ln.decode.nodes import name_nodes, remark_on_headings, remark_on_patients, remark_on_spellings
from fusion_ln.decode.readers import call_columns, find_readers, tidy_readers
from fusion_ln.decode.table import label_key, read_table, refuse_spellings, spelling_key, spelt_alike
from fusion_ln.errors import SettingsError, SourceError
from fusion_ln.progress import say
from fusion_ln.terms import (
    KNOWN_MODALITIES,
    LABEL,
    MODALITY,
    NODE,
    PATH,
    PATIENT,
    SITE,
    UNLABELLED,
    VIEW,
    is_clinical,
    is_reader_column,
    listed,
)

LAYOUT = (
    "Expected: one row per patient (patient_id,label and a column of paths per modality, such as 2d,cdfi,elastic) or "
    "one per picture (patient_id,label,modality,path and, if wanted, view); a node_id, a site and clinical columns may "
    "follow."
)
BOX = "box"  # alone, or with a colon and a modality
OWN_COLUMNS = (PATIENT, NODE, LABEL, SITE, MODALITY, PATH, VIEW, *KNOWN_MODALITIES)
TableLine = tuple[int, dict[str, str]]  # number in the file, cells by column


def parse_classes(text: str) -> tuple[str, ...]:
    """Read ``benign,malignant``, or `UNLABELLED` alone."""
    if text.strip() == UNLABELLED:
        return (UNLABELLED,)
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or spelt_alike(names) or len(set(names)) != len(names) or len(names) < 2:
        raise SettingsError(f"--classes {text!r}: expected two or more different names, separated by commas.")
    return names


def class_of(text: str, classes: Sequence[str]) -> str | None:
    """Find the class that a label names, in any case, or by its number."""
    by_spelling = {spelling_key(name): name for name in classes}
    if spelling_key(text) in by_spelling:
        return by_spelling[spelling_key(text)]
    return classes[int(text)] if text.isdecimal() and int(text) < len(classes) else None


def known_classes(classes: Sequence[str]) -> str:
    """List the classes, as the way out of an unknown label."""
    return f"Known: {', '.join(classes)}, or their numbers 0 to {len(classes) - 1} (see `--classes`)."


@dataclass(frozen=True)
class Table(Source):
    """A CSV or Excel file, a row per patient or per picture; paths are relative to its folder.

    Readers: a column ``reader:NAME`` holds the class that a reader called, ``reader:NAME:CLASS`` ordered suspicion of
    that class, higher for more (1 to 5, 0 to 100); an empty cell was not read.

    Nodes: with a column ``node_id`` a row, or a picture, is of one node, which has a label and pictures of its own; the
    nodes of a patient stay in one fold. A number of up to two digits counts within the patient; any other name belongs
    to one node of the table.

    Boxes, which `--crop auto` takes: a column ``box``, or ``box:MODALITY`` in a table with a row per patient, holds the
    part of the file that is the picture as X,Y,WIDTH,HEIGHT in pixels; an empty cell leaves it to the rule.

    Attributes:
        classes: The classes in the order of their labels, so that a label may be a name, in any case, or a number;
            without them, the labels of the file in natural order; `UNLABELLED` alone: labels are not looked at.
    """

    classes: tuple[str, ...] = option(
        (),
        f"Classes, in the order of their numbers; `{UNLABELLED}` for patients without labels, whom `predict` and "
        "`evaluate --label-free` take.",
        parse=parse_classes,
        metavar="A,B,...",
    )

    def read(self) -> Archive:
        """Find the pictures; see `Source.read`."""
        table = read_table(self.root, LAYOUT).with_names(OWN_COLUMNS)
        table = table.with_names([BOX, *(f"{BOX}:{name}" for name in table.columns)])
        names = (PATIENT, NODE, LABEL, SITE, *call_columns(table.columns))
        values, described = read_columns(table.cells, self.root.parent, texts=names, separator=table.separator)
        blanks = table.remark_on_blanks(PATIENT)
        for line in (*table.remarks, describe_columns(described), *remark_on_headings(table.columns)):
            say(line)
        per_image = {MODALITY, PATH} <= set(table.columns)
        pictured = [] if per_image else _picture_columns(described)
        unlabelled = {LABEL: UNLABELLED} if self.classes == (UNLABELLED,) else {}
        _need_columns(self.root, [*table.columns, *unlabelled], per_image or bool(pictured))
        lines = [
            (int(number), dict(zip(table.columns, map(str, cells), strict=True)) | unlabelled)
            for number, *cells in table.cells.itertuples()
        ]
        of_nodes = NODE in table.columns
        if of_nodes:
            units = name_nodes(self.root, lines)
            lines = [(number, cells | {PATIENT: unit}) for (number, cells), unit in zip(lines, units, strict=True)]
            values = values.assign(**{PATIENT: units})
        boxes = {name for name in table.columns if name == BOX or spelling_key(name).startswith(f"{BOX}:")}
        self._refuse_boxes(boxes, {BOX} if per_image else {f"{BOX}:{name}" for name in pictured})
        used = {PATIENT, NODE, LABEL, SITE, *((MODALITY, PATH, VIEW) if per_image else pictured), *boxes}
        further = [column for column in described if column.name not in used]
        self._refuse_further_pictures(further, values, per_image=per_image)
        classes = self.classes or self._classes(lines)
        rows = [row for line in lines for row in self._rows(line, pictured, classes)]
        self._refuse_two_labels(rows)
        self._refuse_repeats(rows)
        self._refuse_missing(rows)
        images = [row for _, row in rows]
        for column, texts in ((SITE, [row.site for row in images]), (MODALITY, [row.modality for row in images])):
            key = label_key if column == SITE else spelling_key
            refuse_spellings(self.root, column, texts, f"Spell each {column} in one way.", key)
        found = {row.modality for row in images}
        modalities = [*(name for name in KNOWN_MODALITIES if name in found), *sorted(found - set(KNOWN_MODALITIES))]
        clinical, mixed = self._clinical(values, further)
        if clinical is not None:
            clinical, unread = self._tidy(clinical, classes, {row.label for row in images})
            mixed = (*mixed, *unread, *remark_on_reserved(map(str, clinical)))
        alike = remark_on_spellings(row.patient_id or "" for row in images)
        torn = remark_on_patients(clinical) if of_nodes and clinical is not None else []
        odd = [column.warning for column in further if column.warning]
        return Archive(
            self.root.parent,
            classes,
            tuple(modalities),
            images,
            clinical,
            (*odd, *mixed, *alike, *blanks, *torn),
            of_nodes=of_nodes,
        )

    def _classes(self, lines: Sequence[TableLine]) -> tuple[str, ...]:
        """Take the labels of the file for classes."""
        found = sorted({cells[LABEL] for _, cells in lines if cells[LABEL].casefold() not in GAPS}, key=natural)
        way_out = "Spell them alike, or name the classes (`--classes A,B`): their labels may then have any case."
        refuse_spellings(self.root, LABEL, found, way_out, label_key)
        return tuple(found)

    def _rows(self, line: TableLine, pictured: Sequence[str], classes: Sequence[str]) -> list[tuple[int, ImageRow]]:
        """List the pictures of a line: those in the columns ``pictured`` or, with none, the line's only one."""
        number, cells = line
        per_image = not pictured
        for column in (PATIENT, LABEL, *((MODALITY, PATH) if per_image else ())):
            if is_gap(cells[column]) if column == PATH else cells[column].casefold() in GAPS:
                found = f" ({cells[column]!r})" if cells[column] else ""
                raise SourceError(f"{self._at(number)}: no {column}{found}.", "Fill it in or remove the line.")
        label = self._label(number, cells[LABEL], classes)
        site = "" if (held := cells.get(SITE, "")).casefold() in GAPS else held
        known = {spelling_key(name): name for name in KNOWN_MODALITIES}
        listed = [(cells[MODALITY], cells[PATH])] if per_image else [(name, cells[name]) for name in pictured]
        rows = []
        for modality, path in listed:
            if is_gap(path):
                continue  # the patient has no picture of this modality
            view = self._view(number, cells[VIEW]) if per_image and VIEW in cells else None
            name = known.get(spelling_key(modality), modality)
            place, box = self._place(number, path), self._box(number, cells, BOX if per_image else f"{BOX}:{modality}")
            rows.append((number, ImageRow(cells[PATIENT], label, name, place, view, site, box=box)))
        if not rows:
            raise SourceError(f"{self._at(number)}: patient {cells[PATIENT]} has no picture.", "Remove the line.")
        return rows

    def _label(self, number: int, text: str, classes: Sequence[str]) -> str:
        if found := class_of(text, classes):
            return found
        raise SourceError(f"{self._at(number)}: unknown label {text!r}.", known_classes(classes))

    def _view(self, number: int, text: str) -> int:
        if not text.isdecimal():
            raise SourceError(f"{self._at(number)}: view {text!r} is not a whole number.", "Number the views from 0.")
        return int(text)

    def _box(self, number: int, cells: dict[str, str], column: str) -> Box | None:
        if is_gap(text := cells.get(column, "")):
            return None
        try:
            return parse_box(text)
        except ValueError as error:
            raise SourceError(f"{self._at(number)}: column {column}: {error}.", "Mend it, or empty the cell.") from None

    def _refuse_boxes(self, boxes: Collection[str], known: Collection[str]) -> None:
        if unknown := sorted(set(boxes) - set(known)):
            raise SourceError(
                f"{self.root}: column {unknown[0]!r} belongs to no picture.",
                f"Expected: {listed(sorted(known))}; remove or rename the column.",
            )

    def _place(self, number: int, text: str) -> Path:
        """Find a picture by a path, relative to the table's folder or absolute; backslashes may separate its parts."""
        folder = self.root.parent
        place = folder / text
        if not place.is_file():
            place = folder / text.replace("\\", "/")
        if not place.resolve().is_relative_to(folder.resolve()):
            raise SourceError(
                f"{self._at(number)}: {text} leads out of the folder {folder}.",
                "Put the table into the folder that holds all the pictures.",
            )
        for base in (folder, folder.absolute()):
            if place.is_relative_to(base):
                return folder / place.relative_to(base)
        return folder / place.resolve().relative_to(folder.resolve())

    def _refuse_further_pictures(self, further: Sequence[Column], values: pd.DataFrame, *, per_image: bool) -> None:
        """Refuse pictures in a column that no modality is read from: they would be lost in silence."""
        for column in further:
            if found := find_picture(column, values[column.name], self.root.parent):
                if per_image:
                    expected, way_out = f"pictures are read from {PATH!r} alone", "Make it rows, or remove it."
                elif column.name in OWN_COLUMNS:
                    expected, way_out = "that is no modality's name", "Name it after its modality, or remove it."
                else:
                    expected = "most of its cells are other text"
                    way_out = "Empty the cells without a picture, make it rows, or remove it."
                raise SourceError(
                    f"{self._at(found[0])}: column {column.name!r} holds a picture ({found[1]!r}), but {expected}.",
                    way_out,
                )

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
        first: dict[Path, tuple[int, ImageRow]] = {}
        for number, row in rows:
            before, other = first.setdefault(row.path.resolve(), (number, row))
            if other is row or (other.patient_id == row.patient_id and other.modality != row.modality):
                continue  # a screen of two panes, which the import cuts or refuses
            raise SourceError(
                f"{self.root}: picture {row.path} stands in line {before} and in line {number}.",
                "A picture belongs to one patient and one modality: mend one of the lines.",
            )

    def _refuse_missing(self, rows: Sequence[tuple[int, ImageRow]]) -> None:
        if missing := [f"line {number}: {row.path}" for number, row in rows if not row.path.is_file()]:
            raise SourceError(
                f"{self.root}: pictures that do not exist ({len(missing)}):\n{bullet_list(missing)}",
                f"Paths are relative to {self.root.parent.absolute()}; backslashes were read as slashes.",
            )

    def _clinical(self, values: pd.DataFrame, columns: Sequence[Column]) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
        """Collect the further columns, one row per patient; one that differs between a patient's lines is left out."""
        names = [column.name for column in columns]
        by_patient = values[[PATIENT, *names]].groupby(PATIENT, sort=True)
        mixed = [name for name in names if by_patient[name].nunique().max() > 1]
        if of_readers := [name for name in mixed if is_reader_column(name)]:
            several = by_patient[of_readers[0]].nunique()
            raise SourceError(
                f"{self.root}: column {of_readers[0]!r} differs between lines of patient {several.idxmax()}.",
                "A reader calls a patient once: mend the lines.",
            )
        remarks = tuple(f"Column {name!r} differs between lines of one patient: left out." for name in mixed)
        kept = [name for name in names if name not in mixed]
        return by_patient[kept].first().reset_index() if kept else None, remarks

    def _tidy(
        self, clinical: pd.DataFrame, classes: Sequence[str], labels: Collection[str]
    ) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """Check and spell the columns of readers; those that hold nothing are left out.

        A call may name any of ``classes``, or its number, but it must be among the ``labels`` of patients.
        """
        tidy = tidy_readers(clinical, classes, str(self.root))
        unread = [name for name in tidy if is_reader_column(str(name)) and tidy[name].isna().all()]
        tidy = tidy.drop(columns=unread)
        find_readers(tidy, [name for name in classes if name in labels], str(self.root))
        return tidy, tuple(f"Column {name!r} holds nothing: left out." for name in unread)

    def _at(self, number: int) -> str:
        return f"{self.root}, line {number}"


def _need_columns(path: Path, columns: Sequence[str], has_pictures: bool) -> None:
    missing = [column for column in (PATIENT, LABEL) if column not in columns]
    if not missing and not has_pictures:
        missing = [f"{MODALITY} and {PATH}, and none of pictures ({', '.join(KNOWN_MODALITIES)} or another modality)"]
    if missing:
        raise SourceError(f"{path}: no column {missing[0]}; it has {', '.join(columns)}.", LAYOUT)


def remark_on_reserved(columns: Iterable[str]) -> list[str]:
    """Say which further columns no model takes, by their names alone."""
    return [
        f"Column {name!r}: no model takes it, by its name (of ids, folds, views, predictions). Rename it if one should."
        for name in columns
        if name != PATIENT and not is_clinical(name) and not is_reader_column(name)
    ]


def _picture_columns(described: Sequence[Column]) -> list[str]:
    """Find the modalities of a table with one row per patient: columns named as a known one, or of pictures."""
    names = [column.name for column in described]
    others = [column.name for column in described if column.kind == PICTURES and column.name not in OWN_COLUMNS]
    return [*(name for name in KNOWN_MODALITIES if name in names), *others]
