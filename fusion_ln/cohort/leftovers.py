"""Files of an archive that do not become pictures, named so that nothing is lost unsaid."""

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from fusion_ln.cohort.source import NAMED_AT_MOST, Archive
from fusion_ln.errors import PictureError, printable


def with_leftovers(archive: Archive) -> Archive:
    """Name what lies in the archive's folder and did not become one of its pictures, so that nothing is lost unsaid.

    A link to nothing becomes one of ``unusable``; other files are counted by suffix in a remark, and another names
    links to folders of which no picture was taken.
    """
    taken = {row.path for row in archive.images} | {archive.root / path for path, _ in archive.unusable}
    unusable, others, linked = list(archive.unusable), dict[str, list[str]](), list[Path]()
    for folder, names, files in os.walk(archive.root):
        names[:] = sorted(name for name in names if not name.startswith("."))
        links = [name for name in names if Path(folder, name).is_symlink()]  # to folders, which walk() does not enter
        for path in (Path(folder, name) for name in sorted([*files, *links]) if not name.startswith(".")):
            if path.is_symlink() and not path.exists():
                unusable.append((printable(path.relative_to(archive.root)), _dangling(path)))
            elif path not in taken and path.is_file():
                others.setdefault(path.suffix.lower(), []).append(printable(path.relative_to(archive.root)))
            elif path.is_dir():
                linked.append(path)
    remarks = list(archive.remarks)
    if others:
        counts = (f"{len(paths)} {suffix or 'without a suffix'} ({paths[0]})" for suffix, paths in others.items())
        remarks.append(f"Not among the pictures of {archive.root}, and left out: {', '.join(sorted(counts))}.")
    if untaken := _untaken(linked, taken):
        names = [printable(path.relative_to(archive.root)) for path in untaken]
        more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
        listed = ", ".join(names[:NAMED_AT_MOST]) + more
        remarks.append(f"Links to folders in {archive.root} that no picture was taken of: {listed}.")
    return replace(archive, remarks=tuple(remarks), unusable=tuple(unusable))


def _untaken(linked: Sequence[Path], taken: Collection[Path]) -> list[Path]:
    """List the linked folders that hold no picture that was taken, by the link's name or by the folder's own."""
    if not linked:
        return []
    holding = {parent for path in taken for parent in (*path.parents, *path.resolve().parents)}
    return [path for path in linked if path not in holding and path.resolve() not in holding]


def _dangling(path: Path) -> PictureError:
    return PictureError(f"{path}: a link to nothing ({path.readlink()}).", "Mend or remove the link.")
