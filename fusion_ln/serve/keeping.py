"""Keeping of what is sent, where `--keep` asks for it: pictures as they came, with their answer."""

import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusion_ln.errors import RunError, SettingsError
from fusion_ln.files.atomic import cannot_write, write_bytes
from fusion_ln.files.formats import write_json
from fusion_ln.files.names import as_file_name
from fusion_ln.serve.decoding import Upload


def open_keep(folder: Path) -> None:
    """Make the folder, for its owner alone.

    Raises:
        SettingsError: If nothing can be written to it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (probe := folder / f".{secrets.token_hex(8)}").touch()
        probe.unlink()
    except OSError as error:
        raise SettingsError(
            f"--keep {folder}: cannot be written to ({error.strerror}).", "Name another folder, or leave --keep out."
        ) from None


def keep(folder: Path, uploads: Sequence[Upload], clinical: Mapping[str, str], answer: Mapping[str, object]) -> None:
    """Write a patient's pictures, clinical values and answer into a folder of their own.

    Raises:
        RunError: If they cannot be written; then nothing of the patient stays.
    """
    place = folder / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # someone may have removed it since the start
        place.mkdir(mode=0o700)
    except OSError as error:
        raise cannot_write(place, error) from error
    try:
        for upload in uploads:
            write_bytes(place / as_file_name(upload.name), upload.data)
        write_json(place / "answer.json", {"clinical": dict(clinical), **answer})
    except RunError:
        shutil.rmtree(place, ignore_errors=True)
        raise
