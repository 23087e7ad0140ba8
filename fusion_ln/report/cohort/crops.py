"""Contact sheet of a cropped cohort: every picture with its box, those to be looked at first, and the boxes as CSV."""

import base64
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fusion_ln.cohort.checks.boxes import one_a_file
from fusion_ln.cohort.checks.check import CheckResult
from fusion_ln.cohort.regions.box import Box
from fusion_ln.cohort.regions.cropping import BOX_COLUMNS, FOUND_AS, FOUND_BOX
from fusion_ln.files.formats import write_csv
from fusion_ln.report.kit.page import write_page
from fusion_ln.terms import CROP, CROP_BY, HEIGHT, IMAGE, MM_PER_PIXEL, MODALITY, PATH, PATIENT, WIDTH

PAGE, TABLE = "crops.html", "crops.csv"
ON_THE_SHEET = ("odd box", "black", "white", "flat", "two modalities")  # kinds of findings
FOUND_BY = {
    "dicom": "region of the DICOM file",
    "pane": "one of two panes",
    "screen": "picture part of the screen",
    "frame": "the screen without what all share",
    "box": "the same box for all",
    "table": "given in the table",
    "accepted": "given or corrected by hand",
    "whole": "the whole file",
}


@dataclass(frozen=True)
class Shown:
    """A picture on the sheet.

    Attributes:
        screen: Its whole file made small, as an address of its data; empty where the file cannot be read.
        place: The box in percent of the screen: left, top, width, height.
        by, how: How the box was found, as in the table of pictures and in words.
        why: Why it should be looked at; empty for no reason.
    """

    path: str
    patient: str
    modality: str
    size: tuple[int, int]
    box: Box
    place: tuple[float, float, float, float]
    by: str
    how: str
    screen: str
    why: str


def write_crops(folder: Path, result: CheckResult) -> tuple[Path, Path]:
    """Write the contact sheet of a checked cohort, ``crops.html``, and its boxes, ``crops.csv``."""
    findings = result.findings[result.findings["kind"].isin(ON_THE_SHEET)]
    why = dict(zip(findings[IMAGE][::-1], findings["detail"][::-1], strict=True))  # of several, the first one
    order = {image: number for number, image in enumerate(dict.fromkeys(findings[IMAGE]))}
    images = result.cohort.images
    images = images.iloc[images[IMAGE].map(lambda image: order.get(image, len(order))).argsort(kind="stable")]
    images = one_a_file(images)
    shown = [_show(row, result.screens.get(row[IMAGE]), why.get(row[IMAGE], "")) for _, row in images.iterrows()]
    table = pd.DataFrame(
        [(each.path, each.modality, *each.box, each.by, str(each.box), each.why, each.patient) for each in shown],
        columns=[PATH, MODALITY, *BOX_COLUMNS, FOUND_AS, FOUND_BOX, "look_at_it", PATIENT],
    )
    write_csv(folder / TABLE, table)
    page = write_page(
        folder / PAGE,
        PAGE,
        [],
        [],
        simulated=result.cohort.simulated,
        cohort=result.cohort,
        preparation=result.cohort.preparation,
        shown=shown,
        n_odd=sum(bool(each.why) for each in shown),
        found_by=FOUND_BY,
        table=TABLE,
    )
    return page, folder / TABLE


def _show(row: pd.Series, screen: bytes | None, why: str) -> Shown:
    width, height = int(row[WIDTH]), int(row[HEIGHT])
    box = Box(*(int(row[column]) for column in CROP))
    place = (100 * box.x / width, 100 * box.y / height, 100 * box.width / width, 100 * box.height / height)
    how = FOUND_BY[row[CROP_BY]]
    if not pd.isna(row[MM_PER_PIXEL]):
        how = f"{how}, {row[MM_PER_PIXEL]:.3g} mm a pixel"
    address = f"data:image/jpeg;base64,{base64.b64encode(screen).decode()}" if screen else ""
    return Shown(row[PATH], row[PATIENT], row[MODALITY], (width, height), box, place, row[CROP_BY], how, address, why)
