"""How often is a new picture taken for a training picture by chance, and how often is a copy of one found?

Question  Of phantoms of two seeds, how many pictures are alike by chance; and of altered copies of a picture, phantom
          or real, how many are recognised?
Command   python experiments/cohort/near_pictures.py --busi shared/data/busi_256
Time      about 2 minutes on one core, most of it for simulating
Expect    no chance likeness; most copies but those that move the picture by more than its thumbnail's pixel
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fusion_ln.bench.page import describe_origin
from fusion_ln.cohort.checks.hashes import AGREEING, SAME_CONTENT, PictureHashes, hash_copies
from fusion_ln.cohort.checks.thumbnail import grey_copy
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.phantom.simulate import simulate_cohort
from fusion_ln.files.formats import write_text

COPIED = 100  # pictures of each modality that are altered
TABLE = Path(__file__).parents[1] / "benchmarks" / "near_pictures.md"


def as_jpeg(picture: np.ndarray, scale: float, quality: int) -> np.ndarray:
    """Resize and compress a picture."""
    file, side = io.BytesIO(), (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    Image.fromarray(picture).resize(side, Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def crop(picture: np.ndarray, share: float) -> np.ndarray:
    """Cut a share of each side away, at least a pixel."""
    rows, columns = (max(1, round(side * share)) for side in picture.shape[:2])
    return picture[rows:-rows, columns:-columns]


ALTERATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "brighter by 15 %": lambda p: (p * 1.15).clip(0, 255).astype(np.uint8),
    "twice the size, JPEG 60": lambda p: as_jpeg(p, 2, 60),
    "three quarters, JPEG 40": lambda p: as_jpeg(p, 0.75, 40),
    "half the size, JPEG 90": lambda p: as_jpeg(p, 0.5, 90),
    "cropped by 1 %": lambda p: crop(p, 0.01),
    "cropped by 2 %": lambda p: crop(p, 0.02),
}


def pictures_of(cohort: Cohort, modality: str) -> list[np.ndarray]:
    """Pictures of a modality."""
    return [cohort.read_picture(image) for image in cohort.images_of(modality)["image_id"]]


def hashed(pictures: list[np.ndarray]) -> PictureHashes:
    """Hashes of pictures under names of their own."""
    return hash_copies(np.stack([grey_copy(each) for each in pictures]), [f"{i}" for i in range(len(pictures))])


def recognised(known: PictureHashes, pictures: list[np.ndarray]) -> int:
    """Number of pictures that are recognised."""
    names = [f"new {i}" for i in range(len(pictures))]
    return sum(map(bool, known.recognise(np.stack([grey_copy(each) for each in pictures]), names)))


def row_of(title: str, known: list[np.ndarray], new: list[np.ndarray]) -> dict[str, object]:
    """Chance likenesses of new pictures, and recognised copies of known ones."""
    hashes, copied = hashed(known), known[:COPIED]
    found = {name: f"{recognised(hashes, [alter(p) for p in copied])}" for name, alter in ALTERATIONS.items()}
    alike = f"{recognised(hashes, new)} of {len(new):,} ({len(new) * len(known):,} pairs)" if new else "-"
    return {"pictures": title, "known": len(known), "new ones alike": alike, "copies": len(copied), **found}


def main() -> None:
    """Simulate, compare and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--known", type=Path, help="phantom cohort that plays the study; by default one is simulated")
    parser.add_argument("--new", type=Path, help="phantom cohort of another seed")
    parser.add_argument("--patients", type=int, default=340)
    parser.add_argument("--busi", type=Path, help="folder of real pictures")
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        cohorts = [
            load_cohort(given)
            if given
            else simulate_cohort(Path(folder) / str(seed), n_patients=options.patients, seed=seed, k=2)
            for seed, given in enumerate((options.known, options.new))
        ]
        rows = [row_of(m, *(pictures_of(cohort, m) for cohort in cohorts)) for m in cohorts[0].modalities]
    files = sorted(path for path in options.busi.rglob("*.png") if "mask" not in path.name) if options.busi else []
    if files:
        rows.append(row_of("BUSI", [np.asarray(Image.open(file).convert("RGB")) for file in files], []))
    table = pd.DataFrame(rows)
    lines = [
        "# Pictures that are taken for training pictures\n",
        f"{describe_origin('numpy', 'pillow')} {time.monotonic() - began:.0f} s.\n",
        f"Recognised where {AGREEING:.0%} of the bits of the thumbnail's hash agree, and {SAME_CONTENT:.0%} of the "
        "hash of what differs between the study's pictures. Columns from `copies` on: altered copies of known "
        "pictures, and how many are recognised.\n",
        f"| {' | '.join(table.columns)} |",
        "| --- " * table.shape[1] + "|",
        *(f"| {' | '.join(map(str, row))} |" for row in table.itertuples(index=False)),
    ]
    write_text(options.out, "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
