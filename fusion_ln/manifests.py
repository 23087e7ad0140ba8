"""Descriptions of data sets that ship with the package: one TOML each, in ``data_manifests``."""

import tomllib
from pathlib import Path
from typing import Any

from fusion_ln.errors import SettingsError, unknown

_PACKAGE = Path(__file__).resolve().parent
# An installed package holds the manifests itself; in the repository they lie beside it.
_FOLDERS = (_PACKAGE / "data_manifests", _PACKAGE.parent / "data_manifests")


def manifest_names() -> list[str]:
    """List the names of all manifests, sorted."""
    return sorted(path.stem for folder in _FOLDERS for path in folder.glob("*.toml"))


def manifest_path(name: str) -> Path:
    """Find the file ``<name>.toml``.

    Raises:
        SettingsError: If there is no such manifest; names the known ones.
    """
    known = manifest_names()
    if name not in known:
        raise SettingsError(*unknown("manifest", name, known))
    return next(path for folder in _FOLDERS if (path := folder / f"{name}.toml").is_file())


def load_manifest(name: str) -> dict[str, Any]:
    """Read the manifest ``name``.

    Raises:
        SettingsError: If there is no such manifest.
    """
    with manifest_path(name).open("rb") as file:
        return tomllib.load(file)
