"""Pictures with a map over them, as pixels: for the cells of a page, and for a patient's panel."""

import base64
import io
from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion, gaussian_filter

from fusion_ln.report.kit.style import CARD, INK, MUTED, PNG_LEVEL

CELL = 192  # pixels a side in the page
GAP = 8  # pixels between cells of a panel
TOP = 0.2  # share of a picture that the contour encloses
SMOOTH = 1 / 36  # of a picture's side: standard deviation of the blur that makes single pixels readable
FAINT = 0.1  # share of a patient's scale below which a contour would enclose noise
BRIGHTEST = 0.995  # quantile of a patient's maps that gets the full colour
CONTOUR = (64, 255, 224)
OUTLINE = (255, 255, 255)


def smooth(values: np.ndarray) -> np.ndarray:
    """Blur the positive part of a map over neighbouring pixels. Shape (S, S)."""
    blurred: np.ndarray = gaussian_filter(np.maximum(values, 0), SMOOTH * values.shape[-1])
    return blurred


def scale_of(maps: list[np.ndarray]) -> float:
    """Find the value that gets the full colour in all pictures of a patient, so that they can be compared."""
    return float(np.quantile(np.concatenate([m.ravel() for m in maps]), BRIGHTEST)) if maps else 0.0


def on_one_scale(
    maps: Mapping[str, Mapping[str, np.ndarray]],
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, float]]:
    """Smooth a patient's maps, by modality and method, and find the scale that those of each method share."""
    heat = {m: {name: smooth(values) for name, values in held.items()} for m, held in maps.items()}
    names = dict.fromkeys(name for held in heat.values() for name in held)
    return heat, {name: scale_of([held[name] for held in heat.values()]) for name in names}


def picture_cell(picture: np.ndarray, node: np.ndarray | None = None) -> np.ndarray:
    """Draw the picture, uint8 (3, S, S), with the outline of the node where it is known. (CELL, CELL, 3)."""
    cell = _resize(picture.transpose(1, 2, 0))
    return cell if node is None or not node.any() else _draw_edge(cell, _resize_mask(node.astype(float), 0.5), OUTLINE)


def overlay_cell(picture: np.ndarray, heat: np.ndarray, scale: float) -> np.ndarray:
    """Draw the picture in grey, the map in colour over it, and the contour of its top. (CELL, CELL, 3)."""
    grey = np.asarray(Image.fromarray(_resize(picture.transpose(1, 2, 0))).convert("L")) / 255 * 0.8
    if scale <= 0 or heat.max() <= 0:
        return _bytes(np.repeat(grey[..., None], 3, -1))
    large = np.asarray(Image.fromarray(heat.astype(np.float32)).resize((CELL, CELL), Image.Resampling.BILINEAR))
    level = np.clip(large / scale, 0, 1)
    opacity = 0.75 * np.sqrt(level)[..., None]
    colour = colormaps["inferno"](0.15 + 0.85 * level)[..., :3]
    cell = _bytes((1 - opacity) * grey[..., None] + opacity * colour)
    return _draw_edge(cell, large >= contour_level(large, scale), CONTOUR)


def overlay_layer(heat: np.ndarray, scale: float) -> np.ndarray:
    """Draw a map alone, to be laid over its picture: inferno, the more opaque the higher. uint8, shape (S, S, 4)."""
    level = np.clip(heat / scale, 0, 1) if scale > 0 else np.zeros_like(heat)
    colour = colormaps["inferno"](0.15 + 0.85 * level)
    colour[..., 3] = np.sqrt(level)
    return _bytes(colour)


def contour_level(heat: np.ndarray, scale: float) -> float:
    """Find the value that the highest fifth of the pixels reach, but no less than a tenth of the scale."""
    return max(float(np.quantile(heat, 1 - TOP)), FAINT * scale)


def data_uri(cell: np.ndarray) -> str:
    """Encode a cell as a JPEG inside the page."""
    buffer = io.BytesIO()
    Image.fromarray(cell).save(buffer, "jpeg", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def draw_panel(title: str, columns: list[str], rows: list[tuple[str, list[np.ndarray]]], foot: str) -> bytes:
    """Draw all pictures of a patient (rows) with the map of every method (columns) as PNG, as wide as its texts."""
    small, large = ImageFont.load_default(14), ImageFont.load_default(19)
    step, top = CELL + GAP, 66
    left = max([110, *(round(small.getlength(name)) + 2 * GAP for name, _ in rows)])
    texts = max(small.getlength(foot), large.getlength(title))
    width = max(left + len(columns) * step, round(texts) + 2 * GAP)
    panel = Image.new("RGB", (width, top + len(rows) * step + 22), CARD)
    pen = ImageDraw.Draw(panel)
    pen.text((GAP, 22), title, fill=INK, font=large, anchor="lm")
    for x, column in enumerate(columns):
        pen.text((left + x * step, top - 12), column, fill=MUTED, font=small, anchor="lm")
    for y, (name, cells) in enumerate(rows):
        pen.text((left - GAP, top + y * step + CELL / 2), name, fill=MUTED, font=small, anchor="rm")
        for x, cell in enumerate(cells):
            panel.paste(Image.fromarray(cell), (left + x * step, top + y * step))
    pen.text((panel.width - GAP, panel.height - 11), foot, fill=MUTED, font=small, anchor="rm")
    buffer = io.BytesIO()
    panel.save(buffer, "png", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def _resize(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((CELL, CELL), Image.Resampling.BICUBIC))


def _resize_mask(mask: np.ndarray, level: float) -> np.ndarray:
    large = np.asarray(Image.fromarray(mask.astype(np.float32)).resize((CELL, CELL), Image.Resampling.BILINEAR))
    return large >= level


def _draw_edge(cell: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    drawn = cell.copy()
    drawn[mask & ~binary_erosion(mask, border_value=1)] = colour
    return drawn


def _bytes(values: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return rounded
