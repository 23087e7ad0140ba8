"""What does cutting cost: import of made screens with and without it, and the contact sheet of all of them.

Question  Is an import with `--crop auto` at most 1.3 times as slow, and does `cohort check` write the contact sheet of
          1,000 screens in 20 s on two cores?
Command   python experiments/cropping_speed.py [--screens 1000]
Time      about 2 minutes on two idle cores
Expect    benchmarks/cropping_speed.md: seconds of the clock and of the processors
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fusion_ln.bench.page import describe_origin, table_head, table_row
from fusion_ln.cohort.checks.check import check_pictures
from fusion_ln.cohort.importing import import_cohort
from fusion_ln.cohort.regions.cropping import Cropping
from fusion_ln.cohort.regions.rule import CropRule
from fusion_ln.cohort.source import open_source
from fusion_ln.files.formats import write_text
from fusion_ln.report.cohort.crops import write_crops

PAGE = Path(__file__).parent / "benchmarks" / "cropping_speed.md"
WIDTH, HEIGHT = 800, 600


def draw_screens(folder: Path, n: int) -> Path:
    """Draw screens of blurred speckle with a banner, as PNG; returns their table."""
    rng = np.random.default_rng(0)
    lines = ["patient_id,label,2d"]
    for number in range(n):
        grain = Image.fromarray(rng.rayleigh(45, (220, 187)).clip(0, 255).astype(np.uint8))
        screen = Image.new("L", (WIDTH, HEIGHT), 12)
        screen.paste(90, (0, 0, WIDTH, 40))
        screen.paste(grain.resize((560, 440), Image.Resampling.BICUBIC), (110, 60))
        screen.convert("RGB").save(folder / f"{number}.png")
        lines.append(f"{number},{number % 2},{number}.png")
    write_text(folder / "patients.csv", "\n".join(lines) + "\n")
    return folder / "patients.csv"


def timed(title: str, do: Callable[[], object]) -> tuple[str, float]:
    """Do something; returns a row with its seconds, and those of the processors."""
    clock, processor = time.monotonic(), time.process_time()
    do()
    used = time.process_time() - processor
    return table_row([title, f"{time.monotonic() - clock:.1f}", f"{used:.1f}"]), used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--screens", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        source = open_source("table", draw_screens(folder, options.screens))
        plain, without = timed("import", lambda: import_cohort(source, folder / "whole"))
        cropping = Cropping(CropRule("auto"))
        cropped, with_it = timed(
            "import, `--crop auto`", lambda: import_cohort(source, folder / "cut", cropping=cropping)
        )
        cohort = import_cohort(source, folder / "again", cropping=cropping)
        checked, _ = timed("check with the contact sheet", lambda: write_crops(folder, check_pictures(cohort)))
        size = (folder / "crops.html").stat().st_size / 1e6
    lines = [f"# What cutting pictures out of {options.screens:,} made screens costs", ""]
    lines += [*table_head(["step", "seconds", "seconds of processors"]), plain, cropped, checked, ""]
    lines += [
        f"With cutting the import takes {with_it / without:.2f} times the processors' time; the sheet: {size:.1f} MB."
    ]
    lines += [f"PNG, {WIDTH} x {HEIGHT} pixels.", "", describe_origin("numpy", "pillow", "scipy")]
    write_text(options.out, "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
