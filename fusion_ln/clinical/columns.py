"""Names of columns: which ones a reader took from the pictures, and so are findings, not clinical."""

import re
from collections.abc import Collection, Sequence

# Beginnings of words that name what is seen or measured in a picture.
FINDINGS = (
    "axes", "axis", "birads", "border", "calcif", "capsul", "cdfi", "contour", "cortex", "cortical", "cyst", "diameter",
    "doppler", "echo", "elast", "flow", "hilar", "hilum", "hilus", "hypoecho", "hyperecho", "margin", "microcalc",
    "necro", "psv", "rads", "reader", "shape", "size", "sono", "stiff", "strain", "swe", "texture", "thick", "tirads",
    "ultraso", "vascul", "vessel",
)  # fmt: skip
FINDINGS_ZH = ("门", "边界", "边缘", "形态", "回声", "血流", "弹性", "径", "纵横比", "钙化", "坏死", "大小", "皮质")
COLUMNS_IN_TITLE = 4  # columns in a title


def is_finding(column: str, modalities: Collection[str] = ()) -> bool:
    """Check by its name if a reader took a column from the pictures: hilum, margin, axes, scores.

    A name that contains a modality's counts as one, too. In doubt a column is a finding, never clinical.
    """
    name = column.strip().casefold()
    words = [word for word in re.split(r"[\W_]+", name) if word]
    seen = any(word.startswith(FINDINGS) for word in words) or any(sign in name for sign in FINDINGS_ZH)
    return seen or any(modality.casefold() in words for modality in modalities)


def columns_title(columns: Sequence[str], modalities: Collection[str] = ()) -> str:
    """Title columns: the clinical ones, then the reader's findings, never one called the other."""
    found = [column for column in columns if is_finding(column, modalities)]
    kinds = {"clinical columns": [column for column in columns if column not in found], "reader's findings": found}
    title = " and ".join(kind for kind, named in kinds.items() if named)
    return f"{title[:1].upper()}{title[1:]} ({'; '.join(_some(named) for named in kinds.values() if named)})"


def _some(columns: Sequence[str]) -> str:
    shown = [column.replace("_", " ") for column in columns[:COLUMNS_IN_TITLE]]
    more = len(columns) - COLUMNS_IN_TITLE
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
