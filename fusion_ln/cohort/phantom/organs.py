"""Five simulated organ tasks for pre-training: other anatomies and lesions than the neck's, in grey scale.

Nothing here is calibrated: the pictures teach a network speckle, borders, textures and shapes, and no more is claimed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import load_cohort, save_cohort
from fusion_ln.cohort.folds import draw_folds
from fusion_ln.cohort.head import HEAD, CohortDetails, new_cohort
from fusion_ln.cohort.phantom.marks import Screen, burn_in
from fusion_ln.cohort.phantom.modalities.bmode import Patch, Scanner, blend, scan, smooth_noise, soft_step
from fusion_ln.cohort.phantom.neck import Node, Outline, draw_outline
from fusion_ln.cohort.phantom.studio import save_picture
from fusion_ln.manifests import load_manifest
from fusion_ln.terms import HEIGHT, IMAGE, LABEL, MODALITY, PATH, PATIENT, SHA256, SITE, VIEW, WIDTH
from fusion_ln.threads import keep_freed_memory, map_with_progress

GREY = "2d"
N_SCANNERS = 5  # of the phantom's; with another number every picture would be another one
FINEST = 160  # tissue is drawn on at least as many pixels, then averaged
BLACK, WHITE = -60.0, -4.0  # decibels: fluid, and a border that faces the beam

# Label and random numbers to the echo strength [dB] of a patch of tissue.
DrawOrgan = Callable[[str, Patch, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Organ:
    """A task: its classes, the depth of its pictures, and the function that draws its tissue."""

    name: str
    classes: tuple[str, ...]
    depth_mm: float
    draw: DrawOrgan


def simulate_organs(out: Path, *, n_patients: int, image_size: int, seed: int = 0) -> list[Cohort]:
    """Simulate every organ task as a cohort folder ``out/<name>`` of grey-scale pictures, one per patient.

    Args:
        out: Folder of the cohorts; finished ones of the same settings are kept.
        n_patients: Of each task, spread evenly over its classes.
        image_size: Pixels a side.
        seed: Same seed and settings, same bytes.
    """
    keep_freed_memory()
    cohorts = []
    for number, organ in enumerate(ORGANS):
        root = out / f"simulated-{organ.name}"
        if (root / HEAD).is_file() and _is_of(made := load_cohort(root), n_patients, image_size, seed):
            cohorts.append(made)
            continue
        with new_cohort(root):
            cohorts.append(_simulate(organ, number, root, n_patients, image_size, seed))
    return cohorts


def _is_of(cohort: Cohort, *settings: int) -> bool:
    return (cohort.details.n_patients, cohort.details.image_size, cohort.details.seed) == settings


def _simulate(organ: Organ, number: int, root: Path, n_patients: int, image_size: int, seed: int) -> Cohort:
    scanners = [Scanner(**site) for site in load_manifest("phantom")["sites"][:N_SCANNERS]]
    patients = pd.DataFrame(
        {
            PATIENT: [f"{organ.name}-{patient:05d}" for patient in range(n_patients)],
            LABEL: np.arange(n_patients) % len(organ.classes),
            SITE: [scanners[patient // len(organ.classes) % len(scanners)].name for patient in range(n_patients)],
        }
    )

    def draw(patient: int) -> dict[str, object]:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2, number, patient)))
        scanner = next(each for each in scanners if each.name == patients[SITE][patient])
        image = render_organ(organ, organ.classes[patients[LABEL][patient]], scanner, size=image_size, rng=rng)
        name = str(patients[PATIENT][patient])
        path = f"images/{name}.png"
        row = {IMAGE: name, PATIENT: name, MODALITY: GREY, VIEW: 0, PATH: path}
        return row | {WIDTH: image_size, HEIGHT: image_size, SHA256: save_picture(root / path, image)}

    title = f"Simulated pictures: {organ.name}"
    cohort = Cohort(
        root=root,
        name=root.name,
        classes=organ.classes,
        modalities=(GREY,),
        source="simulated organs",
        licence="CC0-1.0",
        patients=patients,
        images=pd.DataFrame(list(map_with_progress(title, draw, range(n_patients)))),
        folds=draw_folds(patients, seed=seed, classes=organ.classes),
        pictures=root,
        simulated=True,
        details=CohortDetails(n_patients=n_patients, image_size=image_size, seed=seed),
    )
    save_cohort(cohort)
    return cohort


def render_organ(organ: Organ, label: str, scanner: Scanner, *, size: int, rng: np.random.Generator) -> Image.Image:
    """Draw a picture of ``size`` x ``size`` pixels, RGB; the scanner's beam widens with the organ's depth."""
    scanner = replace(
        scanner, depth_mm=organ.depth_mm, resolution_mm=scanner.resolution_mm * organ.depth_mm / scanner.depth_mm
    )
    screen = Screen(size)
    finer = -(-FINEST // size)
    patch = Patch(screen.side * finer, organ.depth_mm)
    grey = scan(organ.draw(label, patch, rng), patch, scanner, rng)
    pixels = np.clip(255 * grey, 0, 255).round().astype(np.uint8)
    tissue = Image.fromarray(np.repeat(pixels[:, :, None], 3, axis=2)).reduce(finer)
    return burn_in(tissue, screen, GREY, scanner, None)[0]


# --- parts of several organs; lengths are shares of the side of the patch ---------------------------------------------


def _ellipse(patch: Patch, rng: np.random.Generator, long: float, ratio: float, tilt: float = 0.3) -> Node:
    """Draw an ellipse about the middle of the patch: half its long axis, and long over short axis."""
    x, y = patch.side_mm * rng.uniform([0.38, 0.40], [0.62, 0.60])
    semi = long * patch.side_mm
    return Node(float(x), float(y), semi, semi / ratio, float(rng.uniform(-tilt, tilt)))


def _even(patch: Patch, rng: np.random.Generator, level: float, grain: float = 0.05) -> np.ndarray:
    """Draw even tissue that changes a little from place to place, weaker with depth."""
    side = patch.side_mm
    coarse, fine = smooth_noise(patch, rng, 4 * grain * side), smooth_noise(patch, rng, grain * side)
    return np.asarray(level + 1.5 * coarse + 1.2 * fine - 5 * patch.y / side)


def _put(
    echo: np.ndarray,
    patch: Patch,
    node: Node,
    inside: np.ndarray | float,
    outline: Outline | None = None,
    *,
    wall: float | None = None,
) -> np.ndarray:
    """Lay ``inside`` into the ellipse; ``wall`` [dB] draws a bright border."""
    distance, width = node.distance(patch, outline), 0.012 * patch.side_mm
    if wall is not None:
        echo = np.maximum(echo, wall - 5 * (distance / width) ** 2)
    return blend(echo, inside, soft_step(distance, width))


def _behind(echo: np.ndarray, patch: Patch, node: Node, change_db: float) -> np.ndarray:
    """Change the echo below the ellipse: brighter (fluid) or darker (hard tissue)."""
    across = np.exp(-(((patch.x - node.x) / (0.8 * node.semi_long)) ** 4))
    below = 1 - soft_step(patch.y - node.y - node.semi_short, 0.04 * patch.side_mm)
    return np.asarray(echo + change_db * across * below)


def _vessels(echo: np.ndarray, patch: Patch, rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw dark tubes, cut at any angle."""
    for _ in range(n):
        x, y = rng.uniform(0.1, 0.9, 2) * patch.side_mm
        radius, stretch = rng.uniform(0.012, 0.03) * patch.side_mm, rng.uniform(1, 6)
        tube = Node(float(x), float(y), radius * stretch, radius, float(rng.uniform(-1.5, 1.5)))
        echo = _put(echo, patch, tube, -50.0, wall=-17.0)
    return echo


def _line(echo: np.ndarray, patch: Patch, rng: np.random.Generator, depth: float, level: float = WHITE) -> np.ndarray:
    """Draw a bright interface across the patch."""
    bend = 0.03 * smooth_noise(patch, rng, 0.7 * patch.side_mm)
    distance = patch.y / patch.side_mm - depth - bend + rng.uniform(-0.15, 0.15) * (patch.x / patch.side_mm - 0.5)
    return np.asarray(np.maximum(echo, level - 6 * (distance / 0.012) ** 2))


def _layers(patch: Patch, rng: np.random.Generator, level: float) -> np.ndarray:
    """Draw skin, fat and an interface above deeper tissue."""
    depth = patch.y / patch.side_mm + 0.01 * smooth_noise(patch, rng, 0.5 * patch.side_mm)
    fat = rng.uniform(0.12, 0.22)
    lobules = smooth_noise(patch, rng, 0.14 * patch.side_mm, 0.04 * patch.side_mm)
    echo = blend(_even(patch, rng, level), -32 + 9 * np.exp(-((lobules / 0.3) ** 2)), soft_step(depth - fat, 0.01))
    echo = np.maximum(echo, -7 - 6 * ((depth - fat) / 0.01) ** 2)
    return blend(echo, -8.0, soft_step(depth - 0.04, 0.01))


# --- the organs ------------------------------------------------------------------------------------------------------


def _liver(label: str, patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Draw a liver; benign: a bright or fluid mass, smooth; malignant: dark, uneven, irregular."""
    echo = _vessels(
        _line(_even(patch, rng, -18), patch, rng, rng.uniform(0.85, 0.95)), patch, rng, int(rng.integers(3, 8))
    )
    if label == "normal":
        return echo
    mass = _ellipse(patch, rng, rng.uniform(0.10, 0.22), rng.uniform(1, 1.5))
    if label == "malignant":
        inside = -29 + 5 * smooth_noise(patch, rng, 0.06 * patch.side_mm)
        return _put(echo, patch, mass, inside, draw_outline("irregular", rng))
    if rng.random() < 0.5:
        return _behind(_put(echo, patch, mass, BLACK, wall=-8.0), patch, mass, 6)
    return _put(echo, patch, mass, _even(patch, rng, -10))


def _abdomen(label: str, patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Draw one of six abdominal organs."""
    side = patch.side_mm
    echo = _layers(patch, rng, -24)
    if label == "bowel":
        for _ in range(int(rng.integers(2, 5))):
            x, y = rng.uniform([0.15, 0.3], [0.85, 0.7]) * side
            gas = Node(float(x), float(y), rng.uniform(0.06, 0.14) * side, 0.02 * side, float(rng.uniform(-0.4, 0.4)))
            echo = _behind(_put(echo, patch, gas, -3.0), patch, gas, -18)
        return echo
    if label == "kidney":
        organ = _ellipse(patch, rng, rng.uniform(0.26, 0.36), rng.uniform(1.7, 2.3), 0.6)
        echo = _put(echo, patch, organ, _even(patch, rng, -31), wall=-9.0)
        sinus = replace(organ, semi_long=0.6 * organ.semi_long, semi_short=0.45 * organ.semi_short)
        return _put(echo, patch, sinus, -11 + 3 * smooth_noise(patch, rng, 0.04 * side))
    if label in ("bladder", "gallbladder"):
        large = label == "bladder"
        long, ratio = rng.uniform(0.28, 0.40) if large else rng.uniform(0.15, 0.24), rng.uniform(1.1, 1.5)
        organ = _ellipse(patch, rng, long, ratio if large else 1.6 * ratio, 0.2 if large else 0.9)
        return _behind(_put(echo, patch, organ, BLACK, wall=-8.0), patch, organ, 7)
    organ = _ellipse(patch, rng, rng.uniform(0.42, 0.55), rng.uniform(1.3, 1.7))
    inside = _even(patch, rng, -20 if label == "liver" else -22, 0.05 if label == "liver" else 0.02)
    inside = _vessels(inside, patch, rng, 7 if label == "liver" else 1)
    return _put(echo, patch, organ, inside, wall=-8.0)


def _breast(label: str, patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Draw a breast; benign: wide, smooth, even; malignant: round or tall, irregular, with a shadow."""
    echo = _layers(patch, rng, -20)
    echo += 4 * np.abs(smooth_noise(patch, rng, 0.3 * patch.side_mm, 0.05 * patch.side_mm))
    if label == "normal":
        return echo
    if label == "benign":
        mass = _ellipse(patch, rng, rng.uniform(0.12, 0.24), rng.uniform(1.4, 2.2))
        smooth = None if rng.random() < 0.85 else draw_outline("irregular", rng)
        return _behind(_put(echo, patch, mass, _even(patch, rng, -36), smooth, wall=-12.0), patch, mass, 3)
    mass = _ellipse(patch, rng, rng.uniform(0.10, 0.20), rng.uniform(1.0, 1.5), 1.5)
    rough = draw_outline("irregular", rng) if rng.random() < 0.85 else None
    inside = -40 + 4 * smooth_noise(patch, rng, 0.04 * patch.side_mm)
    return _behind(_put(echo, patch, mass, inside, rough), patch, mass, -8)


def _thyroid(label: str, patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Draw a thyroid nodule; benign: spongy or fluid, smooth; malignant: dark, irregular, with calcifications."""
    side = patch.side_mm
    echo = _layers(patch, rng, -30)
    lobe = _ellipse(patch, rng, rng.uniform(0.34, 0.44), rng.uniform(1.4, 1.8))
    echo = _put(echo, patch, lobe, _even(patch, rng, -15, 0.02), wall=-7.0)
    nodule = _ellipse(patch, rng, rng.uniform(0.10, 0.18), rng.uniform(1, 1.7), 1.5)
    specks = soft_step(1.7 - smooth_noise(patch, rng, 0.02 * side), 0.3)
    if label == "malignant":
        rough = draw_outline("irregular", rng) if rng.random() < 0.8 else None
        inside = blend(_even(patch, rng, -36), -2.0, specks if rng.random() < 0.6 else 0.0)
        return _put(echo, patch, nodule, inside, rough)
    holes = soft_step(0.3 - smooth_noise(patch, rng, 0.03 * side), 0.4)
    inside = blend(_even(patch, rng, -20), BLACK, holes if rng.random() < 0.7 else 0.1)
    return _put(echo, patch, nodule, inside, wall=-11.0 if rng.random() < 0.8 else None)


def _heart(label: str, patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Draw a left ventricle in its long axis: the weaker it pumps, the wider its cavity and the thinner its wall."""
    step = {"EF below 40": 0.0, "EF 40 to 50": 0.5, "EF from 50": 1.0}[label]
    step += rng.normal(0, 0.18)
    wide, wall = 0.20 - 0.09 * step, 0.045 + 0.035 * step
    x, y = patch.side_mm * rng.uniform([0.44, 0.48], [0.56, 0.56])
    long = rng.uniform(0.28, 0.33)
    cavity = Node(
        float(x), float(y), long * patch.side_mm, wide * patch.side_mm, float(np.pi / 2 + rng.normal(0, 0.12))
    )
    muscle = replace(cavity, semi_long=(long + wall) * patch.side_mm, semi_short=(wide + wall) * patch.side_mm)
    echo = _put(_even(patch, rng, -42, 0.1), patch, muscle, _even(patch, rng, -17, 0.03), wall=-10.0)
    return _put(echo, patch, cavity, BLACK + 4 * smooth_noise(patch, rng, 0.1 * patch.side_mm))


ORGANS = (
    Organ("liver", ("benign", "malignant", "normal"), 120, _liver),
    Organ("abdomen", ("bladder", "bowel", "gallbladder", "kidney", "liver", "spleen"), 140, _abdomen),
    Organ("breast", ("benign", "malignant", "normal"), 40, _breast),
    Organ("thyroid", ("benign", "malignant"), 40, _thyroid),
    Organ("heart", ("EF below 40", "EF 40 to 50", "EF from 50"), 150, _heart),
)
