"""Hashes of content."""

import hashlib
from pathlib import Path

import pandas as pd


def hash_table(table: pd.DataFrame) -> str:
    """Hash (SHA-256) the table's values and column names, in order; the same on every machine."""
    return hashlib.sha256(table.to_csv(index=False, lineterminator="\n").encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Hash (SHA-256) a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
