"""Grey levels of monochrome pixels: the modality and VOI transformations of DICOM (PS3.3 C.11.1, C.11.2)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pydicom import Dataset


def grey_levels(stored: np.ndarray, header: "Dataset") -> np.ndarray:
    """Map stored monochrome values to 0..255 through the modality and VOI transformations.

    A window follows PS3.3 C.11.2.1.2 (LINEAR), C.11.2.1.3.2 (LINEAR_EXACT) or C.11.2.1.3.1 (SIGMOID); one that is not
    wide enough to show anything is ignored. The first window or table counts. Padding does not widen the own range of
    a picture without a window.

    Args:
        stored: Stored values. Shape (H, W).
        header: The file's elements; empty ones left out.

    Returns:
        Grey levels, uint8. Shape (H, W).
    """
    return _once_per_value(stored, lambda values: _grey_levels(values, header, stored))


def own_range(values: np.ndarray) -> np.ndarray:
    """Map the values between their own extremes to 0..255; a flat picture stays black. Shape kept, uint8."""

    def spread(values: np.ndarray) -> np.ndarray:
        low, high = float(values.min()), float(values.max())
        return np.rint((values.astype(np.float64) - low) / ((high - low) or 1) * 255).astype(np.uint8)

    return _once_per_value(values, spread)


def _once_per_value(values: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply a function of single values and of their extremes to each value that may occur: a table to look up.

    A large picture would need eight bytes a pixel for every step.
    """
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" or int(high) - int(low) >= 2**16:
        return function(values)
    table = function(np.arange(int(low), int(high) + 1, dtype=values.dtype))
    looked_up: np.ndarray = table[(values - low).view(f"u{values.itemsize}")]  # a signed difference may wrap
    return looked_up


def _ends(stored: np.ndarray, header: "Dataset") -> np.ndarray:
    """Find the least and the largest stored value that is no padding (PS3.3 C.7.5.1.1.2); of all if all are padding."""
    shown = stored
    if "PixelPaddingValue" in header:
        values = (header.PixelPaddingValue, header.get("PixelPaddingRangeLimit", header.PixelPaddingValue))
        first, last = sorted(np.array([int(value) for value in values]).astype(stored.dtype))  # either sign may be said
        kept = stored[(stored < first) | (stored > last)]
        shown = kept if kept.size else stored
    return np.array([shown.min(), shown.max()])


def _grey_levels(stored: np.ndarray, header: "Dataset", picture: np.ndarray) -> np.ndarray:
    """Map stored values, which stand for those of ``picture``."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    values = np.asarray(apply_modality_lut(stored, header), dtype=np.float64)
    if header.get("VOILUTSequence"):
        values = np.asarray(apply_voi_lut(values.astype(np.int64), header, prefer_lut=True), dtype=np.float64)
        grey = values / _table_top(header.VOILUTSequence[0])
    elif (window := _window(header)) is not None:
        grey = _apply_window(values, *window)
    else:
        low, high = _output_range(header, picture)
        grey = (values - low) / ((high - low) or 1)
    grey = np.clip(grey, 0, 1) * 255
    if header.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return np.rint(grey).astype(np.uint8)


def _window(header: "Dataset") -> tuple[float, float, str] | None:
    """Read centre, width and function of the first window, if it can show anything."""
    centres, widths = header.get("WindowCenter"), header.get("WindowWidth")
    if centres is None or widths is None:
        return None
    centre, width = (float(v[0] if hasattr(v, "__len__") else v) for v in (centres, widths))
    function = str(header.get("VOILUTFunction", "LINEAR"))
    return (centre, width, function) if width > (1 if function == "LINEAR" else 0) else None


def _apply_window(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    return (values - (centre - 0.5)) / (width - 1) + 0.5


def _table_top(table: "Dataset") -> float:
    """Find the end of a table's output range: of the bits that it says, or uses where these are four or more fewer.

    Entries of 8 or 12 bits stand in 16-bit words of some files, and are called 16-bit there.
    """
    entries, said = table.LUTData, int(table.LUTDescriptor[2])
    values = np.frombuffer(entries, "<u2") if isinstance(entries, bytes) else np.atleast_1d(entries)
    used = max(int(values.max()).bit_length(), 8)
    return 2.0 ** (used if said - used >= 4 else said) - 1


def _output_range(header: "Dataset", picture: np.ndarray) -> tuple[float, float]:
    """Find the ends of the values that the modality transformation can put out; of deep pixels the picture's own."""
    from pydicom.pixels.processing import apply_modality_lut

    if header.get("ModalityLUTSequence"):
        return 0.0, _table_top(header.ModalityLUTSequence[0])
    bits = int(header.BitsStored)
    if bits > 8:  # scanners rarely use all the bits that they store
        ends = apply_modality_lut(_ends(picture, header), header)
        return float(ends.min()), float(ends.max())
    signed = bool(header.get("PixelRepresentation", 0))
    stored = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    low, high = sorted(end * slope + intercept for end in stored)
    return low, high
