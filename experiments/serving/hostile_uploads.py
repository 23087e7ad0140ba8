"""Does a server survive files that are no sound pictures: no 500, no crash, flat memory, nothing kept?

Command: python experiments/serving/hostile_uploads.py MODEL [--uploads 2000]
Expect: benchmarks/hostile_uploads.md: answers by kind of file, memory of the server and its decoders, places where a
sent byte was found (none). About five minutes on two cores.
"""

import argparse
import io
import os
import struct
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import requests
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from server_process import memory_of, start_server

from fusion_ln.bench.page import describe_origin, table_head, table_row
from fusion_ln.files.formats import write_text

PAGE = Path(__file__).parents[1] / "benchmarks" / "hostile_uploads.md"
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
MARK = b"Mrs-Unforgettable"  # in every file: looked for on the disk and in the log


def hostile(number: int, largest: int) -> tuple[str, bytes]:
    """Make a hostile file: its kind, and its bytes with `MARK` in them; the same for the same number.

    Args:
        number: Seed.
        largest: Bytes of an oversized file.
    """
    rng = np.random.default_rng(number)
    kind = list(KINDS)[number % len(KINDS)]
    return kind, KINDS[kind](rng, largest) + MARK


def _sound(rng: np.random.Generator) -> bytes:
    pixels = rng.integers(0, 256, (*rng.integers(20, 90, 2), 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, str(rng.choice(FORMATS)))
    return file.getvalue()


def _truncated(rng: np.random.Generator, largest: int) -> bytes:
    data = _sound(rng)
    return data[: rng.integers(1, len(data))]


def _flipped(rng: np.random.Generator, largest: int) -> bytes:
    data = np.frombuffer(_sound(rng), np.uint8).copy()
    places = rng.integers(0, len(data), rng.integers(1, 40))
    data[places] = rng.integers(0, 256, len(places))
    return data.tobytes()


def _oversized(rng: np.random.Generator, largest: int) -> bytes:
    return _sound(rng) + bytes(largest)


def _polyglot(rng: np.random.Generator, largest: int) -> bytes:
    tails = (b"<script>alert(1)</script>", b"PK\x03\x04" + rng.bytes(300), b"%PDF-1.7\n", b"#!/bin/sh\nrm -rf /\n")
    tail = tails[rng.integers(len(tails))]
    return tail + _sound(rng) if rng.random() < 0.5 else _sound(rng) + tail


def _bomb(rng: np.random.Generator, largest: int) -> bytes:
    """Make a PNG of a few bytes that claims, and may hold, very many pixels."""
    side = int(rng.integers(5_000, 2**31 - 1))
    rows = zlib.compress(bytes(int(rng.integers(1, 5_000_000))), 9)
    header = struct.pack(">IIBBBBB", side, int(rng.integers(1, 2**31 - 1)), 8, int(rng.choice([0, 2, 6])), 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _other_type(rng: np.random.Generator, largest: int) -> bytes:
    heads = (b"", b"\x7fELF", b"PK\x03\x04", b"GIF89a", b"\xff\xd8\xff", b"BM", b"II*\x00", b"RIFF", b"<svg/>", b"\x00")
    return heads[rng.integers(len(heads))] + rng.bytes(int(rng.integers(0, 2_000)))


def _dicom(rng: np.random.Generator, largest: int) -> bytes:
    """Make a DICOM file whose header and pixels disagree, or that is cut or altered."""
    held = Dataset()
    held.file_meta = FileMetaDataset()
    held.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    held.SOPClassUID, held.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.6.1", generate_uid(entropy_srcs=[str(rng)])
    held.PatientName = MARK.decode()
    held.Rows, held.Columns = (int(side) for side in rng.choice([0, 1, 20, 64, 65_535], 2))
    held.NumberOfFrames = int(rng.choice([0, 1, 3, 2_000_000_000]))
    held.SamplesPerPixel = int(rng.choice([0, 1, 3, 255]))
    held.PhotometricInterpretation = str(rng.choice(["MONOCHROME2", "RGB", "YBR_FULL_422", "PALETTE COLOR", "?"]))
    held.BitsAllocated = int(rng.choice([1, 8, 12, 16, 64]))
    held.BitsStored, held.HighBit = held.BitsAllocated, max(held.BitsAllocated - 1, 0)
    held.PixelRepresentation, held.PlanarConfiguration = int(rng.integers(2)), 0
    held.BurnedInAnnotation = "YES"
    held.add_new(0x7FE00010, "OB", rng.bytes(2 * int(rng.integers(0, 6_000))))
    file = io.BytesIO()
    held.save_as(file, enforce_file_format=True)
    data = np.frombuffer(file.getvalue(), np.uint8).copy()
    if rng.random() < 0.5:
        places = rng.integers(132, len(data), 6)
        data[places] = rng.integers(0, 256, len(places))
    return data[: len(data) if rng.random() < 0.6 else rng.integers(1, len(data))].tobytes()


KINDS = {
    "truncated": _truncated,
    "altered": _flipped,
    "oversized": _oversized,
    "polyglot": _polyglot,
    "bomb": _bomb,
    "other type": _other_type,
    "hostile DICOM": _dicom,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--uploads", type=int, default=2_000)
    arguments = parser.parse_args()
    largest = 2_000_000
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.environ["TMPDIR"] = name
        with start_server(arguments.model, place / "log", megabytes=largest // 10**6, per_minute=1_000_000) as server:
            modality = requests.get(f"{server.address}/api/v1/models", timeout=60).json()[0]["modalities"][0]
            statuses: Counter[tuple[str, int]] = Counter()
            memory, began = [], time.monotonic()
            for number in range(arguments.uploads):
                kind, data = hostile(number, largest)
                address = f"{server.address}/api/v1/{('predict', 'pictures', 'explain')[number // len(KINDS) % 3]}"
                field = "picture" if address.endswith("pictures") else modality
                answer = requests.post(address, files={field: (MARK.decode(), data)}, timeout=120)
                statuses[kind, answer.status_code] += 1
                if MARK in answer.content:
                    statuses[kind, -1] += 1
                if number % max(arguments.uploads // 10, 1) == 0:
                    memory.append(memory_of(server.process.pid) / 1e6)
            memory.append(memory_of(server.process.pid) / 1e6)
            took = time.monotonic() - began
            alive = server.process.poll() is None
        found = [path for path in place.rglob("*") if path.is_file() and MARK in path.read_bytes()]
    write_text(PAGE, _page(statuses, memory, took, alive, len(found)))


def _page(statuses: Counter[tuple[str, int]], memory: list[float], took: float, alive: bool, found: int) -> str:
    columns = sorted({status for _, status in statuses})
    titles = [{-1: "echoed"}.get(status, str(status)) for status in columns]
    rows = [table_row([kind, *(str(statuses[kind, status]) for status in columns)]) for kind in KINDS]
    number = sum(n for (_, status), n in statuses.items() if status > 0)
    lines = [
        "# Hostile uploads",
        "",
        describe_origin("fusion_ln", "django", "pillow", "pydicom"),
        "",
        f"{number} files in {took:.0f} s, to `predict`, `pictures` and `explain` in turn. Server alive at the end: "
        f"{'yes' if alive else 'no'}. Files on the disk (log, temporary files) with a mark of the uploads: {found}. "
        f"Memory of the server and its decoders at each tenth [MB]: {', '.join(f'{each:.0f}' for each in memory)}.",
        "",
        *table_head(["kind", *titles]),
        *rows,
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
