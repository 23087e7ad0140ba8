"""Reads every picture of a cohort and lists what is wrong or odd: damaged, changed, empty, repeated, misfiled."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from fusion_ln.cohort.checks.boxes import odd_boxes
from fusion_ln.cohort.checks.colours import COLOURED_FROM, GREY_BELOW
from fusion_ln.cohort.checks.duplicates import near_pairs
from fusion_ln.cohort.checks.look import Look, look_at_picture
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import FusionLNError
from fusion_ln.terms import CINE, COLOUR_MODALITIES, FOLD, IMAGE, LABEL, MODALITY, PATIENT
from fusion_ln.threads import map_with_progress
from fusion_ln.units import count_units, patient_of

FindingRow = dict[str, Any]  # a picture with its patient's class and fold; or a finding
PROBLEM, NOTE = "problem", "note"
FINDING_COLUMNS = (
    "severity", "kind", IMAGE, PATIENT, "class", FOLD,
    "other_image_id", "other_patient_id", "other_class", "other_fold", "detail",
)  # fmt: skip

# Title of each kind of finding, and the way out.
FINDING_KINDS = {
    "unreadable": (
        "Pictures that cannot be read",
        "Restore the files, or import again with `--skip-unreadable`.",
    ),
    "changed": (
        "Files that are not those that were imported",
        "Restore them, or import the cohort again (older runs will not match).",
    ),
    "black": (
        "Pictures that are nearly black",
        "Look at them: a file whose depth was misread looks so. Export them as 8-bit PNG, or leave them out.",
    ),
    "white": (
        "Pictures that are nearly white",
        "Look at them; export them anew, or import again without them (`--leave-out PATH`).",
    ),
    "flat": (
        "Pictures that show one grey",
        "Look at them; export them anew, or import again without them (`--leave-out PATH`).",
    ),
    "two labels": (
        "The same or nearly the same picture under two labels",
        "Find out which label is right, and import again without the other (`--leave-out PATH`).",
    ),
    "two patients": (
        "The same or nearly the same picture under two patients, or nodes",
        "Give the patient one name (`--patient-pattern`, patient_id of a table), or use one only (`--leave-out PATH`).",
    ),
    "two modalities": (
        "The same picture under two modalities of a patient",
        "Find out which it is, and import again without the other (`--leave-out PATH`).",
    ),
    "repeated": ("The same picture twice for one patient", ""),
    "grey": ("Grey pictures under a colour modality", ""),
    "coloured": ("Coloured pictures under the grey-scale modality", ""),
    "burned-in text": ("DICOM files that say that text stands in their pixels (BurnedInAnnotation)", ""),
    "odd box": (
        "Boxes to be looked at",
        "See crops.html; correct crops.csv and import again with `--accept crops.csv`.",
    ),
    "missing modality": ("Patients who lack a modality", ""),
}  # fmt: skip

# Of 255, for the brightest channel, whose 1st and 99th percentile count: a corner of text makes no picture. Of 640 real
# pictures and of simulated ones the 99th is 124 or more, the 1st 53 or less and their distance 119 or more; 12 bits
# shown as if they were 16 reach 15.
BLACK_BELOW, WHITE_ABOVE, FLAT_WITHIN = 32, 223, 16
LOOKED_AT = (
    "the file as it was imported (SHA-256); nearly black, nearly white and flat pictures; colours where there should "
    "be none, and none where there should be; the same and nearly the same picture under another label, patient or "
    "modality; missing modalities"
)


@dataclass(frozen=True)
class CheckResult:
    """Findings of a check.

    Attributes:
        findings: One row per finding, problems first; columns `FINDING_COLUMNS`. Those of the second picture are empty
            where there is none.
        n_dicom: DICOM files whose BurnedInAnnotation was looked at.
        screens: Of a cropped cohort, each picture's whole file made small, as JPEG, by image.
    """

    cohort: Cohort
    findings: pd.DataFrame
    n_dicom: int = 0
    screens: dict[str, bytes] = field(default_factory=dict)

    @property
    def has_problems(self) -> bool:
        return bool((self.findings["severity"] == PROBLEM).any())


def check_pictures(cohort: Cohort) -> CheckResult:
    """Read every picture of ``cohort`` and list problems (to be mended) and notes (to be known).

    A problem is a file that cannot be read or was changed since the import, a picture that shows next to nothing, and
    one that occurs, the same or nearly the same, under two labels, two patients or two modalities; nearly the same
    pictures of two patients with one label in one fold are a note.
    """
    images = cohort.images.merge(_patients(cohort), on=PATIENT)
    looks: list[tuple[FindingRow, Look]] = []
    findings: list[FindingRow] = []
    rows: list[FindingRow] = [
        dict(zip(images.columns, values, strict=True)) for values in images.to_numpy(dtype=object)
    ]
    results = map_with_progress("Checking pictures", partial(look_at_picture, cohort), rows)
    for row, look in zip(rows, results, strict=True):
        if isinstance(look, FusionLNError):
            findings.append(_finding(PROBLEM, "unreadable", row, look.problem))
        else:
            looks.append((row, look))
    findings += [_finding(PROBLEM, "changed", row, "its SHA-256 differs") for row, look in looks if look.changed]
    findings += _empty(looks)
    findings += _repeats(looks)
    findings += _near_repeats(looks, cohort.modalities)
    findings += _misfiled(looks)
    findings += _burned_in(cohort, looks)
    by_image = {row[IMAGE]: row for row in rows}
    seams = {row[IMAGE] for row, look in looks if look.has_seam}
    odd = odd_boxes(cohort.images, seams) if cohort.is_cropped else {}
    findings += [_finding(NOTE, "odd box", by_image[image], why) for image, why in odd.items()]
    findings += _missing(cohort)
    table = pd.DataFrame(findings, columns=list(FINDING_COLUMNS))
    order = {kind: number for number, kind in enumerate(FINDING_KINDS)}
    rank = (table["severity"] != PROBLEM) * len(FINDING_KINDS) + table["kind"].map(order)
    n_dicom = sum(look.burned_in is not None for _, look in looks)
    screens = {row[IMAGE]: look.screen for row, look in looks if look.screen}
    return CheckResult(cohort, table.iloc[np.argsort(rank, kind="stable")].reset_index(drop=True), n_dicom, screens)


def describe_check(result: CheckResult, *, at_most: int = 10) -> str:
    """Describe the findings: counts, then each kind with its first cases and the way out."""
    cohort, findings = result.cohort, result.findings
    lines = [f"Cohort {cohort.name}: {cohort.count_units()}, {len(cohort.images)} pictures."]
    images = cohort.images.merge(_patients(cohort), on=PATIENT)
    for name in cohort.classes:
        of_class = images[images["class"] == name]
        counts = ", ".join(f"{m} {(of_class[MODALITY] == m).sum()}" for m in cohort.modalities)
        lines.append(f"  {name}: {count_units(of_class[PATIENT].unique().tolist())}; pictures: {counts}")
    dicom = f"; BurnedInAnnotation of {result.n_dicom} DICOM files" if result.n_dicom else ""
    lines += ["", f"Looked at, for every picture: {LOOKED_AT}{dicom}."]
    for (severity, kind), cases in findings.groupby(["severity", "kind"], sort=False):
        title, way_out = FINDING_KINDS[str(kind)]
        lines += ["", f"{str(severity).capitalize()}: {title} ({len(cases)})"]
        lines += [f"  {_line(case)}" for _, case in cases.head(at_most).iterrows()]
        if len(cases) > at_most:
            lines.append(f"  ... and {len(cases) - at_most} more")
        if severity == PROBLEM:
            lines.append(f"  {way_out}")
    if findings.empty:
        lines += ["", "Nothing wrong or odd was found."]
    return "\n".join(lines)


def _line(case: pd.Series) -> str:
    first = case[IMAGE] or case[PATIENT]
    if case["other_image_id"]:
        first += f" ({case['class']}) = {case['other_image_id']} ({case['other_class']})"
    return f"{first}: {case['detail']}"


def _patients(cohort: Cohort) -> pd.DataFrame:
    """Build a table of patient, class name and fold."""
    patients = cohort.patients[[PATIENT, LABEL]].merge(cohort.folds[[PATIENT, FOLD]], on=PATIENT)
    patients["class"] = [cohort.classes[label] for label in patients.pop(LABEL)]
    return patients


def _finding(severity: str, kind: str, row: FindingRow, detail: str, other: FindingRow | None = None) -> FindingRow:
    finding = dict.fromkeys(FINDING_COLUMNS, "") | {"severity": severity, "kind": kind, "detail": detail}
    for prefix, picture in (("", row), ("other_", other or {})):
        finding |= {prefix + column: picture.get(column, "") for column in (IMAGE, PATIENT, "class", FOLD)}
    return finding


def _burned_in(cohort: Cohort, looks: list[tuple[FindingRow, Look]]) -> Iterator[FindingRow]:
    """Find files that say that text stands in their pixels; a cine said it at the import, and has one finding."""
    cines = set(cohort.details.burned_in_cines)
    for row, look in looks:
        if look.burned_in:
            yield _finding(NOTE, "burned-in text", row, "BurnedInAnnotation is YES")
        elif (cine := row.get(CINE)) in cines:
            cines.remove(cine)
            yield _finding(NOTE, "burned-in text", row, f"BurnedInAnnotation of {cine} was YES at the import")


def _empty(looks: list[tuple[FindingRow, Look]]) -> Iterator[FindingRow]:
    """Find pictures that show next to nothing."""
    for row, look in looks:
        low, high = look.brightness
        if high < BLACK_BELOW:
            yield _finding(PROBLEM, "black", row, f"99 % of its pixels are at most {high} of 255")
        elif low > WHITE_ABOVE:
            yield _finding(PROBLEM, "white", row, f"99 % of its pixels are at least {low} of 255")
        elif high - low < FLAT_WITHIN:
            yield _finding(PROBLEM, "flat", row, f"98 % of its pixels are between {low} and {high} of 255")


def _repeats(looks: list[tuple[FindingRow, Look]]) -> Iterator[FindingRow]:
    """Find pictures with the same pixels, each beside the first of them."""
    first: dict[bytes, FindingRow] = {}
    for row, look in looks:
        other = first.setdefault(look.digest, row)
        if other is row:
            continue
        if other[PATIENT] != row[PATIENT]:
            yield _across(other, row, "the same pixels", PROBLEM)
        elif other[MODALITY] != row[MODALITY]:
            yield _finding(PROBLEM, "two modalities", other, "the same pixels", row)
        else:
            yield _finding(NOTE, "repeated", other, "the same pixels", row)


def _near_repeats(looks: list[tuple[FindingRow, Look]], modalities: tuple[str, ...]) -> Iterator[FindingRow]:
    """Find nearly the same pictures of two patients within a modality, whose pictures share a layout."""
    for modality in modalities:
        of_modality = [(row, look) for row, look in looks if row[MODALITY] == modality]
        if not of_modality:
            continue
        pairs, correlations = near_pairs(np.stack([look.thumbnail for _, look in of_modality]))
        for (i, j), correlation in zip(pairs, correlations, strict=True):
            (row, look), (other, other_look) = of_modality[i], of_modality[j]
            if patient_of(row[PATIENT]) != patient_of(other[PATIENT]) and look.digest != other_look.digest:
                yield _across(row, other, f"nearly the same (correlation {correlation:.3f})", NOTE)


def _across(row: FindingRow, other: FindingRow, detail: str, severity: str) -> FindingRow:
    """Report a picture of two patients: a problem if it has two labels or lies in two folds."""
    if patient_of(row[PATIENT]) == patient_of(other[PATIENT]):
        detail += ", of two nodes of one patient"
    if row[FOLD] != other[FOLD]:
        detail += f", in folds {row[FOLD]} and {other[FOLD]}"
    leaks = row[FOLD] != other[FOLD] or row["class"] != other["class"]
    kind = "two labels" if row["class"] != other["class"] else "two patients"
    return _finding(PROBLEM if leaks else severity, kind, row, detail, other)


def _misfiled(looks: list[tuple[FindingRow, Look]]) -> Iterator[FindingRow]:
    for row, look in looks:
        detail = f"{look.coloured:.2%} of its pixels are coloured"
        if row[MODALITY] in COLOUR_MODALITIES and look.coloured < GREY_BELOW:
            yield _finding(NOTE, "grey", row, f"{row[MODALITY]}, and {detail}")
        if row[MODALITY] == "2d" and look.coloured > COLOURED_FROM:
            yield _finding(NOTE, "coloured", row, detail)


def _missing(cohort: Cohort) -> Iterator[FindingRow]:
    held = {modality: set(cohort.patients_with(modality)) for modality in cohort.modalities}
    for patient, name, fold in _patients(cohort).itertuples(index=False):
        if lacking := [modality for modality in cohort.modalities if patient not in held[modality]]:
            yield _finding(NOTE, "missing modality", {PATIENT: patient, "class": name, FOLD: fold}, ", ".join(lacking))
