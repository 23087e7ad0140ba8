"""Download of a public archive as its manifest describes it, and unpacking without trust."""

import errno
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from fusion_ln.errors import SettingsError, SourceError, unknown
from fusion_ln.files.atomic import cannot_write
from fusion_ln.files.locks import LOCK, locked
from fusion_ln.manifests import load_manifest, manifest_names
from fusion_ln.progress import progress, say

MEGABYTE = 1_000_000
# Pictures hardly compress: an archive that grows more than this is a decompression bomb.
MAX_GROWTH = 100
HARMLESS = 100 * MEGABYTE  # unpacked size that is never refused
END_RECORD = 22  # bytes of a zip's last record, without its comment
UNFINISHED_DOWNLOAD = ".unfinished"  # folder of the file that is being fetched
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
# What the readers raise on damaged bytes, and on passwords and compressions that they do not know (RuntimeError).
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)


@dataclass(frozen=True)
class _File:
    """A file to download; ``checksum`` is ``algorithm:hex``, or None where nobody states one."""

    name: str
    url: str
    checksum: str | None


def downloadable() -> list[str]:
    """List the manifests whose archive can be downloaded, or that state how to get it."""
    return [name for name in manifest_names() if "download" in load_manifest(name)]


def download_archive(name: str, out: Path) -> Path | None:
    """Fetch the archive ``name`` into ``out`` and unpack it there; licence and citation are printed first.

    Files with the right checksum are kept, so a broken download goes on with the next file.

    Returns:
        The folder, or None where people must fetch the archive themselves: page and steps are printed instead.

    Raises:
        SettingsError: If the archive is not known.
        SourceError: If a file cannot be fetched, has a wrong checksum or cannot be unpacked safely.
    """
    if name not in downloadable():
        raise SettingsError(*unknown("archive", name, downloadable()))
    manifest = load_manifest(name)
    say(f"{manifest['title']}\n  Licence: {manifest['licence']}\n  Cite: {manifest['citation']}")
    if steps := manifest["download"].get("steps"):
        reason = manifest["download"].get("reason", "Its owner wants a login or an agreement")
        lines = [f"  {number}. {step}" for number, step in enumerate([*steps, _import_step(name, "SRC")], start=1)]
        say("\n".join([f"{reason}, so fetch it yourself:", f"  {manifest['page']}", *lines]))
        return None
    with locked(out / LOCK):
        files = _files(manifest)
        folders = _folder_names([file.name for file in files])
        for file in files:
            path = _fetch(file, out, manifest["page"])
            if file.name in folders:
                unpack(path, out / folders[file.name])
    return out


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar file into ``folder``; nothing where the folder exists, so it is whole or absent.

    Raises:
        SourceError: If a member leads out of the folder or is a link, or the archive grows beyond belief or is damaged.
    """
    if folder.exists():
        say(f"{folder}: unpacked before, kept.")
        return
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with ExitStack() as stack:
            unfinished.mkdir(parents=True)
            if archive.suffix.lower() == ".zip":
                _unpack_zip(archive, stack.enter_context(zipfile.ZipFile(archive)), unfinished)
            else:
                _unpack_tar(archive, stack.enter_context(tarfile.open(archive)), unfinished)
        unfinished.rename(folder)
    except DAMAGED as error:
        raise _damaged(archive, error) from None
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # the readers' own: of gzip and bzip2, of a place before the file
            raise _damaged(archive, error) from None
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _import_step(name: str, folder: str | Path) -> str:
    return f"fusionln cohort import {name} {folder} --out DIR"


def _files(manifest: dict[str, Any]) -> list[_File]:
    """List the files of the manifest; of a DOI, those that its registry lists now, with their checksums."""
    plan = manifest["download"]
    if "doi" not in plan:
        return [_File(file["name"], file["url"], file.get("checksum")) for file in plan["files"]]
    import pooch
    import requests

    base = f"doi:{plan['doi']}/"
    registry = pooch.create(path="", base_url=base)
    try:
        registry.load_registry_from_doi()
    except (requests.RequestException, ValueError, KeyError) as error:
        raise _cannot_fetch(f"https://doi.org/{plan['doi']}", error, manifest["page"]) from None
    return [_File(file, base + file, registry.registry[file]) for file in registry.registry_files]


def _fetch(file: _File, out: Path, page: str) -> Path:
    """Fetch one file, unless it is there already; the checksum decides."""
    import pooch
    import requests
    from pooch.hashes import hash_matches

    pooch.get_logger().setLevel("WARNING")
    path, unfinished = out / file.name, out / UNFINISHED_DOWNLOAD
    shutil.rmtree(unfinished, ignore_errors=True)  # of a download that was killed
    try:
        if not (path.is_file() and hash_matches(path, file.checksum)):
            with ExitStack() as stack:
                meter = _Meter(file.name, stack)
                fetch = pooch.DOIDownloader if file.url.startswith("doi:") else pooch.HTTPDownloader
                downloader = fetch(progressbar=meter, chunk_size=MEGABYTE)
                pooch.retrieve(file.url, file.checksum, fname=path.name, path=unfinished, downloader=downloader)
            (unfinished / path.name).replace(path)
    except (requests.RequestException, ValueError) as error:
        raise _cannot_fetch(file.url, error, page) from None
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    say(f"{file.name}: {'checksum is right' if file.checksum else 'nobody states a checksum, so none was checked'}.")
    return path


class _Meter:
    """Adapter of our progress to the interface of pooch's progress bar, which counts chunks: megabytes here."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self.name, self.stack = name, stack
        self.total = 0  # bytes; pooch sets it once it knows
        self.left = -1  # megabytes; negative before the first one came
        self.step: Callable[[str], None] = lambda note: None

    def update(self, _: int) -> None:
        if self.left < 0:
            self.left = max(1, -(-self.total // MEGABYTE))
            self.step = self.stack.enter_context(progress(f"{self.name} (MB)", self.left))
        if self.left > 0:
            self.left -= 1
            self.step("")

    def reset(self) -> None:
        """Do nothing: pooch calls it before it fills its bar once more at the end."""

    def close(self) -> None:
        """Do nothing: the stack closes the bar."""


def _cannot_fetch(url: str, error: Exception, page: str) -> SourceError:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        reason = f"the server answers {error.response.status_code} {error.response.reason}"
    elif isinstance(error, requests.ConnectionError | requests.Timeout):
        reason = "no connection, or it broke off"
    else:
        reason = str(error).splitlines()[0]  # pooch says which checksum it found and which it expected
    way_out = f"Try again later (finished files are kept), or fetch it by hand from {page}."
    return SourceError(f"{url}: cannot be fetched ({reason}).", way_out)


def _folder_names(files: Sequence[str]) -> dict[str, str]:
    """Name the folder of each archive: as its file without suffixes or, where that name is taken, by its whole name.

    What is an archive shows by its name: a damaged one no longer looks like one.
    """
    archives = {name: name.split(".")[0] for name in files if name.lower().endswith(ARCHIVES)}
    taken = Counter([*archives.values(), *(name for name in files if name not in archives)])
    return {name: short if taken[short] == 1 else f"{name}.unpacked" for name, short in archives.items()}


def _unpack_zip(archive: Path, file: zipfile.ZipFile, folder: Path) -> None:
    infos = file.infolist()
    if len(infos) != _stated_members(archive, file):
        raise zipfile.BadZipFile("its directory does not hold as many members as its end states")
    for info in infos:
        _refuse_outside(archive, info.filename)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _unsafe(archive, info.filename, "is a link")
    # A reader gets no more bytes than the directory states, so the stated size can be trusted as an upper bound.
    _refuse_bomb(archive, sum(info.file_size for info in infos))
    with progress("Unpacking", len(infos)) as step:
        for info in infos:
            file.extract(info, folder)
            step("")


def _stated_members(archive: Path, file: zipfile.ZipFile) -> int:
    """Read how many members the end record states; the reader does not compare it with what it found."""
    with archive.open("rb") as raw:
        raw.seek(-END_RECORD - len(file.comment), 2)
        record = raw.read(END_RECORD)
    stated = int.from_bytes(record[10:12], "little") if record.startswith(b"PK\5\6") else -1
    return stated if stated < 0xFFFF else len(file.infolist())  # zip64 states it elsewhere


def _unpack_tar(archive: Path, file: tarfile.TarFile, folder: Path) -> None:
    infos, unpacked = [], 0
    for info in file:
        _refuse_outside(archive, info.name)
        if not (info.isfile() or info.isdir()):
            raise _unsafe(archive, info.name, "is a link or a device")
        unpacked += info.size
        _refuse_bomb(archive, unpacked)  # before the reader inflates the member on its way to the next one
        infos.append(info)
    with progress("Unpacking", len(infos)) as step:
        for info in infos:
            file.extract(info, folder, filter="data")
            step("")
    _read_to_the_end(archive, file)


def _read_to_the_end(archive: Path, file: tarfile.TarFile) -> None:
    """Read what stands behind the last member.

    The reader takes any header that it cannot read, or none, for the end, so the end's own block is asked for; and the
    checksum of a compressed stream is compared only where the stream ends.
    """
    stream = file.fileobj
    assert stream is not None
    stream.seek(file.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"no further member and no end at byte {file.offset}")
    while stream.read(MEGABYTE):
        _refuse_bomb(archive, stream.tell())


def _refuse_outside(archive: Path, name: str) -> None:
    """Refuse a path that leads out of its folder: the libraries would unpack it elsewhere or skip it silently."""
    path = PureWindowsPath(name)  # knows both slashes and drives
    if path.anchor or ".." in path.parts:
        raise _unsafe(archive, name, "leads out of its folder")


def _refuse_bomb(archive: Path, unpacked: int) -> None:
    packed = archive.stat().st_size
    if unpacked > max(HARMLESS, MAX_GROWTH * packed):
        raise SourceError(
            f"{archive}: {packed / MEGABYTE:.1f} MB would become {unpacked / MEGABYTE:.0f} MB, as no pictures do.",
            "Nothing was unpacked. Do not trust this file; tell the owner of the archive.",
        )


def _damaged(archive: Path, error: Exception) -> SourceError:
    reason = str(error).rstrip(".") or "it ends too early"
    return SourceError(f"{archive}: cannot be unpacked ({reason}).", "Delete it and download it again.")


def _unsafe(archive: Path, member: str, reason: str) -> SourceError:
    return SourceError(
        f"{archive}: its member {member!r} {reason}.",
        "Nothing was unpacked. Do not trust this file; tell the owner of the archive.",
    )
