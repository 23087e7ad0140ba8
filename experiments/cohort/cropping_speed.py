"""What does cutting cost: import of made screens with and without it, and the contact sheet of all of them.

Question  Is an import with `--crop auto` at most 1.3 times as slow, and does `cohort check` write the contact sheet of
          1,000 screens in 20 s on two cores?
Command   python experiments/cohort/cropping_speed.py [--screens 1000]
Time      about 2 minutes on two idle cores
Expect    benchmarks/cropping_speed.md: seconds of the clock and of the processors
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
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

PAGE = Path(__file__).parents[1] / "benchmarks" / "cropping_speed.md"
WIDTH, HEIGHT = 800, 600


def draw_screens(folder: Path, n: int) -> Path:
    """Draw screens of blurred speckle with a banner, as PNG; returns their table."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["patient_id,label,2d"]
    for number in range(n):
        grain = Image.fromarray(rng.rayleigh(45, (220, 187)).clip(0, 255).astype(np.uint8))
        screen = Image.new("L", (WIDTH, HEIGHT), 12)
        screen.paste(90, (0, 0, WIDTH, 40))
        screen.paste(grain.resize((560, 440), Image.Resampling.BICUBIC), (110, 60))
        screen.convert("RGB").save(folder / f"{number}.png", compress_level=1)
        lines.append(f"{number},{number % 2},{number}.png")
    write_text(folder / "patients.csv", "\n".join(lines) + "\n")
    return folder / "patients.csv"


def timed(do: Callable[[], object]) -> tuple[float, float]:
    """Do something; returns its seconds, and those of the processors."""
    clock, processor = time.monotonic(), time.process_time()
    do()
    return time.monotonic() - clock, time.process_time() - processor


def imports(folder: Path, table: Path, repeats: int) -> dict[str, tuple[float, float]]:
    """Import with and without cutting, in turn; the least seconds of each."""
    source, found = open_source("table", table), dict[str, list[tuple[float, float]]]()
    for number in range(repeats):
        for title, cropping in (("import", Cropping()), ("import, `--crop auto`", Cropping(CropRule("auto")))):
            out = folder / f"{number}-{cropping.rule}"
            found.setdefault(title, []).append(timed(partial(import_cohort, source, out, cropping=cropping)))
    return {
        title: (min(each[0] for each in all_of), min(each[1] for each in all_of)) for title, all_of in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--screens", type=int, default=1000, help="On the contact sheet.")
    parser.add_argument("--imported", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        few, many = Path(place, "few"), Path(place, "many")
        found = imports(few, draw_screens(few, options.imported), options.repeats)
        table = draw_screens(many, options.screens)
        cohort = import_cohort(open_source("table", table), many / "cut", cropping=Cropping(CropRule("auto")))
        sheet = f"check of {options.screens:,} with the contact sheet"
        found[sheet] = timed(lambda: write_crops(many, check_pictures(cohort)))
        size = (many / "crops.html").stat().st_size / 1e6
    (_, without), (_, with_it), _ = found.values()
    lines = ["# What cutting pictures out of made screens costs", ""]
    lines += table_head(["step", "seconds", "seconds of processors"])
    lines += [table_row([title, f"{clock:.1f}", f"{used:.1f}"]) for title, (clock, used) in found.items()]
    lines += ["", f"An import of {options.imported} screens takes {with_it / without:.2f} times as long with cutting."]
    lines += [f"Least of {options.repeats} imports each, in turn. The sheet: {size:.1f} MB."]
    lines += [
        f"PNG, {WIDTH} x {HEIGHT} pixels. Load of the machine at the end: {os.getloadavg()[0]:.1f}.",
        "",
        describe_origin("numpy", "pillow", "scipy"),
    ]
    write_text(options.out, "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
