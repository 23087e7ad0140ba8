"""What do files that were made to hold or fill a reader cost, beyond a sound file, through the real commands?

Command: python experiments/faults/hostile_files.py [NAME ...]
Expect: benchmarks/hostile_files.md, a row per file: seconds of processor and peak memory of `cohort import`,
`cohort check` and `predict` beyond those of a sound file, and how the commands ended. Some 5 minutes, two cores.
"""

import argparse
import io
import json
import os
import shutil
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from fusion_ln.bench.page import describe_origin
from fusion_ln.cli.main import cli
from fusion_ln.files.formats import write_text

PAGE = Path(__file__).parents[1] / "benchmarks" / "hostile_files.md"
SECONDS, MEGABYTES = 2.0, 300  # beyond a sound file
GIGA, MEGA = 10**9, 10**6
DEFLATED, JPEG, JPEG_2000 = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91"
EXPLICIT, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"
TINY = "--backbone test_resnet --image-size 32 --epochs 1 --batch-size 4 --device cpu --workers 1"


def dicom(body: bytes, syntax: str = EXPLICIT, preamble: bytes = bytes(128)) -> bytes:
    """Build a file with this data set."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID("1.2.840.10008.5.1.4.1.1.6.1"), UID("1.2.3")
    meta.TransferSyntaxUID = UID(syntax)
    file = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(pydicom.filebase.DicomFileLike(file), meta)
    return preamble + b"DICM" + file.getvalue() + body


def data_set(rows: int, columns: int, pixels: bytes, *, encapsulated: bool = False, samples: int = 1) -> bytes:
    """Build the elements of a picture."""
    header = pydicom.Dataset()
    header.Rows, header.Columns, header.SamplesPerPixel, header.PixelRepresentation = rows, columns, samples, 0
    header.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "RGB"
    header.BitsAllocated, header.BitsStored, header.HighBit = 8, 8, 7
    if samples == 3:
        header.PlanarConfiguration = 0
    header.PixelData = pixels
    header["PixelData"].VR = "OB"
    header["PixelData"].is_undefined_length = encapsulated
    file = io.BytesIO()
    header.save_as(file, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return file.getvalue()


def deflate(start: bytes, block: bytes, times: int) -> bytes:
    """Deflate bytes and many copies of a block, which are compressed but once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    begun = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return begun + packed * times + packer.flush()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*chunks: bytes, side: int = 64, depth: int = 8) -> bytes:
    rows = zlib.compress(bytes(side * (1 + side * depth // 8)), 9)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def bomb(size: int) -> bytes:
    """Compress zeros as zlib does, whose checksum of them is known."""
    checksum = struct.pack(">HH", size % 65_521, 1)
    return b"\x78\xda" + deflate(b"", bytes(MEGA), size // MEGA) + checksum


def saved(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def progressive(side: int, scans: int) -> bytes:
    """Build a JPEG whose last scan stands in it again and again."""
    whole = saved(np.zeros((side, side), np.uint8), "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * (scans - whole.count(b"\xff\xda")) + whole[-2:]


def gif(frames: int) -> bytes:
    one = saved(np.zeros((64, 64), np.uint8), "GIF")
    at = one.index(b",", 13 + 3 * 2 ** ((one[10] & 7) + 1))
    return one[:at] + one[at:-1] * frames + b";"


def tiff(pages: int) -> bytes:
    """Build a TIFF of many directories that share one strip."""
    content = bytearray(b"II*\0" + struct.pack("<I", 8))
    tags = [
        (256, 4, 64),
        (257, 4, 64),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 0),
        (278, 4, 64),
        (279, 4, 4096),
    ]
    size = 2 + 12 * len(tags) + 4
    end = 8 + pages * size
    for page in range(pages):
        content += struct.pack("<H", len(tags))
        for tag, kind, value in tags:
            content += struct.pack("<HHII", tag, kind, 1, end if tag == 273 else value)
        content += struct.pack("<I", 8 + (page + 1) * size if page + 1 < pages else 0)
    return bytes(content + bytes(4096))


def webp(side: int) -> bytes:
    """Build an animation whose header alone states a large canvas."""
    frame = saved(np.zeros((64, 64, 3), np.uint8), "WEBP", lossless=True)[12:]
    size = (side - 1).to_bytes(3, "little")
    extended = b"VP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + size + size
    anim = b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    body = bytes(6) + (63).to_bytes(3, "little") * 2 + bytes(4) + frame
    chunks = extended + anim + b"ANMF" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def elements(count: int) -> bytes:
    one = [b"\x09\x00" + number.to_bytes(2, "little") + b"LO\0\0" for number in range(0x1000, 0x5000)]
    return b"".join(one * (count // len(one)))


def nested(depth: int) -> bytes:
    start = b"\x09\x00\x01\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return start * depth


def items(count: int) -> bytes:
    return b"\x09\x00\x01\x10SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0" * count


def jpeg_2000(side: int) -> bytes:
    stream = saved(np.zeros((side, side), np.uint8), "JPEG2000", no_jp2=True)
    return dicom(data_set(side, side, encapsulate([stream]), encapsulated=True), JPEG_2000)


def rle(side: int) -> bytes:
    packed = b"\x81\x00" * (side * side // 128 + 1)
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + packed + bytes(len(packed) % 2)
    return dicom(data_set(side, side, encapsulate([frame]), encapsulated=True), RLE)


def fragments(syntax: str) -> bytes:
    start = data_set(64, 64, encapsulate([b"\xff\xd8" * 2]), encapsulated=True)
    return dicom(start[: start.index(b"\xe0\x7f\x10\x00OB") + 12] + b"\xfe\xff\x00\xe0\0\0\0\0" * MEGA, syntax)


SOUND = data_set(64, 64, np.random.default_rng(0).bytes(64 * 64))
FILES: dict[str, Callable[[], bytes]] = {
    "DICOM, deflated: 1 MB": lambda: dicom(deflate(SOUND, bytes(MEGA), 1), DEFLATED),
    "DICOM, deflated: 90 MB": lambda: dicom(deflate(SOUND, bytes(MEGA), 90), DEFLATED),
    "DICOM, deflated: 1 GB": lambda: dicom(deflate(SOUND, bytes(MEGA), 1000), DEFLATED),
    "DICOM, a million tiny elements": lambda: dicom(elements(MEGA) + SOUND),
    "DICOM, a million tiny elements, deflated": lambda: dicom(deflate(b"", elements(16_384), 61), DEFLATED),
    "DICOM, 25,000 tiny elements": lambda: dicom(elements(32768)[: 25_000 * 8] + SOUND),
    "DICOM, sequences 20,000 deep": lambda: dicom(nested(20_000)),
    "DICOM, a million items": lambda: dicom(items(MEGA)),
    "DICOM, a million fragments, JPEG": lambda: fragments(JPEG),
    "DICOM, a million fragments, RLE": lambda: fragments(RLE),
    "DICOM, RLE of 36 megapixels": lambda: rle(6000),
    "DICOM, JPEG 2000 of 36 megapixels": lambda: jpeg_2000(6000),
    "DICOM behind an executable's head": lambda: dicom(SOUND, preamble=b"MZ" + bytes(126)),
    "PNG, zTXt of 1 GB": lambda: png(chunk(b"zTXt", b"a\0\0" + bomb(GIGA))),
    "PNG, iTXt of 1 GB": lambda: png(chunk(b"iTXt", b"a\0\1\0\0\0" + bomb(GIGA))),
    "PNG, iCCP of 1 GB": lambda: png(chunk(b"iCCP", b"a\0\0" + bomb(GIGA))),
    "PNG, 1,000 zTXt of 1 MB": lambda: png(chunk(b"zTXt", b"a\0\0" + bomb(MEGA)) * 1000),
    "PNG, a million chunks": lambda: png(chunk(b"tEXt", b"a\0b") * MEGA),
    "PNG, 49,000 chunks": lambda: png(chunk(b"tEXt", b"a\0b") * 49_000),
    "PNG of 36 megapixels": lambda: png(side=6000),
    "PNG of 900 megapixels": lambda: png(side=30_000, depth=1),
    "JPEG, 100 scans of 36 megapixels": lambda: progressive(6000, 100),
    "JPEG, 10,000 scans": lambda: progressive(6000, 10_000),
    "GIF of 60,000 frames": lambda: gif(60_000),
    "TIFF of 40,000 pages": lambda: tiff(40_000),
    "WebP that states 268 megapixels": lambda: webp(16_383),
}  # fmt: skip


def measure(words: list[str]) -> tuple[float, float, int, str]:
    """Run a command in a fork of this process: seconds of processor, peak MB, exit code and last message."""
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                with redirect_stdout(output), redirect_stderr(output):
                    cli.main(words, standalone_mode=True)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
            finally:
                output.flush()
                os._exit(code)
        _, status, used = os.wait4(child, 0)
        output.seek(0)
        text = output.read()
    found = text[text.rindex("Error: ") + 7 :].split("\n")[0] if "Error: " in text else ""
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, os.waitstatus_to_exitcode(status), found


class Trial:
    """Commands on one picture, in a folder with what they need."""

    def __init__(self, root: Path) -> None:
        self.root, self.victim = root, root / "pictures" / "victim"
        self.model, self.cohort = root / "runs" / "baseline-2d", root / "cohort"

    def prepare(self) -> None:
        os.environ["FUSIONLN_CACHE"] = str(self.root / "cache")
        for words in (
            f"cohort phantom --patients 24 --image-size 32 --folds 2 --out {self.root}/phantom",
            f"run baseline --modality 2d --cohort {self.root}/phantom --out {self.root}/runs {TINY}",
        ):
            if (code := measure(words.split())[2]) != 0:
                sys.exit(f"{words}: ended with {code}")
        (self.root / "pictures").mkdir()
        lines = ["patient_id,label,modality,path"]
        for number in range(8):
            path = self.root / "pictures" / f"{number}.png"
            Image.fromarray(np.random.default_rng(number).integers(0, 255, (64, 64), np.uint8)).save(path)
            lines.append(f"p{number},{'ab'[number % 2]},2d,{path}")
        lines.append(f"victim,a,2d,{self.victim}")
        (self.root / "table.csv").write_text("\n".join(lines))
        self.victim.write_bytes(dicom(SOUND))
        if measure(self.importing(self.cohort))[2] != 0:
            sys.exit("the sound file was refused")

    def importing(self, out: Path) -> list[str]:
        return ["cohort", "import", "table", f"{self.root}/table.csv", "--folds", "2", "--out", str(out)]

    def commands(self) -> dict[str, list[str]]:
        shutil.rmtree(self.root / "out", ignore_errors=True)
        return {
            "import": self.importing(self.root / "out"),
            "check": ["cohort", "check", str(self.cohort)],
            "predict": ["predict", str(self.model), "--2d", str(self.victim)],
        }

    def run(self, content: bytes) -> dict[str, tuple[float, float, int, str]]:
        self.victim.write_bytes(content)
        return {name: measure(words) for name, words in self.commands().items()}


def write_page(rows: dict[str, dict[str, list[object]]], kilobytes: dict[str, float]) -> None:
    """Write the table as a page."""
    head = f"""# Files that were made to hold or fill a reader

{describe_origin("torch", "fusion_ln")}

Seconds of processor and peak memory of a command on each file, less those of the same command on a sound file of
64 x 64 pixels; aim: at most {SECONDS:g} s and {MEGABYTES} MB, and one message where the file is refused.

| file | kB | import | check | predict | message |
| --- | --- | --- | --- | --- | --- |
"""
    lines = []
    for name, found in rows.items():
        cells = [f"{seconds:+.1f} s, {memory:+.0f} MB" for seconds, memory, _, _ in found.values()]
        message = next((str(text) for *_, text in reversed(found.values()) if text), "read as a picture")
        lines.append(f"| {name} | {kilobytes[name]:.0f} | {' | '.join(cells)} | {message} |\n")
    write_text(PAGE, head + "".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="files whose names hold one of these words")
    parser.add_argument("--rows", type=Path, default=Path("hostile_files.json"), help="file that keeps what was tried")
    options = parser.parse_args()
    held = json.loads(options.rows.read_text()) if options.rows.is_file() else {"rows": {}, "kilobytes": {}}
    import fusion_ln.predict.predictor  # noqa: F401  so that no fork imports torch

    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder))
        trial.prepare()
        for name, make in FILES.items():
            if options.names and not any(word in name for word in options.names):
                continue
            content, started = make(), time.monotonic()
            sound, found = trial.run(dicom(SOUND)), trial.run(content)
            held["rows"][name] = {
                command: (seconds - sound[command][0], memory - sound[command][1], code, text.replace(folder, "DIR"))
                for command, (seconds, memory, code, text) in found.items()
            }
            held["kilobytes"][name] = len(content) / 1000
            print(
                f"{name} ({time.monotonic() - started:.0f} s):", *held["rows"][name].values(), sep="\n    ", flush=True
            )
            options.rows.write_text(json.dumps(held))
    write_page(held["rows"], held["kilobytes"])


if __name__ == "__main__":
    main()
