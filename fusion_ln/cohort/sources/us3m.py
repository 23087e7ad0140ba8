"""US3M: public breast triplets."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fusion_ln.cohort.source import Archive, ImageRow, Source, bullet_list, find_layout, pictures_in, subfolders
from fusion_ln.decode.table import read_table
from fusion_ln.errors import SourceError

LAYOUT = (
    "<case>/{BUS,DUS,EUS}_<view>.jpg, with the labels either as folders (benign/<case>/..., malignant/<case>/...; "
    "0/ and 1/ do as well) or in labels.csv beside the cases (columns case,label; benign or 0, malignant or 1)"
)


@dataclass(frozen=True)
class US3M(Source):
    """US3M breast triplets: ``<case>/{BUS,DUS,EUS}_<view>.jpg``, one folder per patient.

    The public description names the layout of a case but not where its label stands, so class folders above the
    cases serve, or a ``labels.csv`` beside them.
    """

    classes: ClassVar[dict[str, str]] = {"0": "benign", "1": "malignant", "benign": "benign", "malignant": "malignant"}
    modalities: ClassVar[dict[str, str]] = {"BUS": "2d", "DUS": "cdfi", "EUS": "elastic"}

    def read(self) -> Archive:
        """Find the pictures; see `Source.read`."""
        root = find_layout(self.root, self._fits, LAYOUT)
        if (root / "labels.csv").is_file():
            labels, remarks = self._labels(root)
        else:
            labels = {
                f"{c.name}/{case.name}": self.classes[c.name] for c in self._folders(root) for case in subfolders(c)
            }
            remarks = ()
        images = [row for case, label in labels.items() for row in self._case(root, case, label)]
        return Archive(root, ("benign", "malignant"), tuple(self.modalities.values()), images, remarks=remarks)

    def _fits(self, folder: Path) -> bool:
        return (folder / "labels.csv").is_file() or bool(self._folders(folder))

    def _folders(self, folder: Path) -> list[Path]:
        return [child for child in subfolders(folder) if child.name in self.classes]

    def _labels(self, root: Path) -> tuple[dict[str, str], tuple[str, ...]]:
        """Read the label of every case folder; remark on cases of the table that have no folder."""
        path = root / "labels.csv"
        held = read_table(path, LAYOUT).with_names(("case", "label"))
        if missing := [column for column in ("case", "label") if column not in held.columns]:
            raise SourceError(f"{path}: no column {missing[0]!r}; it has {', '.join(held.columns)}.", LAYOUT)
        table = held.cells.assign(label=held.cells["label"].str.lower())
        for line, case, label in zip(table.index, table["case"], table["label"], strict=True):
            if label not in self.classes:
                raise SourceError(f"{path}, line {line}: case {case} has the unknown label {label!r}.", LAYOUT)
        if (twice := table["case"].duplicated()).any():
            raise SourceError(f"{path}: case {table['case'][twice].iloc[0]} stands in it twice.", "Keep one of them.")
        by_case = dict(zip(table["case"], table["label"].map(self.classes), strict=True))
        cases = [case.name for case in subfolders(root)]
        if unlabelled := [case for case in cases if case not in by_case]:
            raise SourceError(
                f"{path}: {len(unlabelled)} cases have no label:\n{bullet_list(unlabelled)}", "Add them to it."
            )
        absent = len(by_case) - len(cases)
        remarks = (f"{absent} of the {len(by_case)} cases of {path} have no folder.",) if absent else ()
        return {case: by_case[case] for case in cases}, remarks

    def _case(self, root: Path, case: str, label: str) -> list[ImageRow]:
        rows = []
        for path in pictures_in(root / case):
            prefix, _, view = path.stem.partition("_")
            if prefix not in self.modalities or not view.isdecimal():
                raise SourceError(f"{path}: unknown name {path.stem!r}.", f"Expected: {LAYOUT}")
            rows.append(ImageRow(case, label, self.modalities[prefix], path, int(view)))
        return rows
