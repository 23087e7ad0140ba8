"""The package's own source: where its metadata say that it is, and the very files that run, as an archive."""

import io
from functools import cache
from importlib.metadata import distribution, metadata
from pathlib import Path, PurePosixPath
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from fusion_ln import __version__
from fusion_ln.manifests import manifest_names, manifest_path

NAME = "fusion_ln"
ROOT = f"{NAME}-{__version__}"
ARCHIVE = f"{ROOT}-source.zip"
PACKAGE = Path(__file__).parents[1]
KINDS = {".py", ".typed", ".html", ".md", ".css", ".svg", ".ts", ".tsx", ".js", ".json"}
LEFT_OUT = {"node_modules", "static", "__pycache__"}  # of others, or built
# Labels of addresses that lead to code, as PyPI knows them (packaging.python.org, "Well-known Project URLs").
LABELS = ("source", "repository", "sourcecode", "github")


def source_licence() -> str | None:
    """Return the licence of the package's source."""
    found = metadata(NAME).get_all("License-Expression")
    return str(found[0]) if found else None


def source_links() -> list[dict[str, object]]:
    """List the addresses of the package's code in its metadata."""
    found: list[dict[str, object]] = []
    for entry in metadata(NAME).get_all("Project-URL") or []:
        label, _, url = entry.partition(",")
        if "".join(filter(str.isalnum, label)).lower() in LABELS:
            found.append({"title": f"{NAME}: {label.strip()}", "url": url.strip(), "licence": source_licence()})
    return found


def source_link(url: str) -> dict[str, object]:
    """Describe the archive that lies at an address."""
    return {"title": ARCHIVE, "url": url, "licence": source_licence()}


@cache
def pack_source() -> bytes:
    """Pack the package's files with its licence and description; the same files give the same bytes.

    Only files that a package consists of, by their kind; no time and no place of a machine.
    """
    files = {f"{NAME}/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes() for path in _package_files()}
    files |= {f"{NAME}/data_manifests/{name}.toml": manifest_path(name).read_bytes() for name in manifest_names()}
    files |= _documents()
    with ZipFile(buffer := io.BytesIO(), "w", ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in sorted(files.items()):
            archive.writestr(ZipInfo(f"{ROOT}/{name}"), data, ZIP_DEFLATED)
    return buffer.getvalue()


def _package_files() -> list[Path]:
    return [
        path
        for path in PACKAGE.rglob("*")
        if path.suffix in KINDS
        and path.is_file()
        and not path.is_symlink()
        and not any(part in LEFT_OUT or part.startswith(".") for part in path.relative_to(PACKAGE).parts)
    ]


def _documents() -> dict[str, bytes]:
    """Read the licence and the description that were installed with the package."""
    installed = distribution(NAME)
    found = {"PKG-INFO": (installed.read_text("METADATA") or "").encode()}
    for entry in installed.files or []:
        path = PurePosixPath(entry)
        if "licenses" in path.parts and path.parent.parent.suffix == ".dist-info":
            found[path.name] = Path(str(entry.locate())).read_bytes()
    return found
