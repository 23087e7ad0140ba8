import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fusion_ln.cohort import download
from fusion_ln.cohort.download import download_archive, downloadable, unpack
from fusion_ln.errors import SettingsError, SourceError


class Server:
    """Serves what lies in ``files`` (path -> bytes) and remembers what was asked for."""

    def __init__(self):
        self.files, self.asked = {}, []
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                served.asked.append(self.path)
                body = served.files.get(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def manifest(monkeypatch):
    """Let the source "ward" stand in the manifests with this download section."""

    def put(section):
        text = {"title": "Ward", "licence": "CC0", "citation": "Ward 2020", "page": "http://page", "download": section}
        monkeypatch.setattr(download, "manifest_names", lambda: ["ward"])
        monkeypatch.setattr(download, "load_manifest", lambda name: text)

    return put


def zip_of(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, body in members.items():
            file.writestr(name, body)
    return buffer.getvalue()


def tar_of(members, compression=""):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as file:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            file.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def sha256(body):
    return "sha256:" + hashlib.sha256(body).hexdigest()


def one_file(server, body, *, checksum=None, name="ward.zip"):
    server.files[f"/{name}"] = body
    return {"files": [{"name": name, "url": f"{server.url}/{name}", "checksum": checksum or sha256(body)}]}


def test_an_archive_is_fetched_and_unpacked_after_its_licence_is_shown(server, manifest, tmp_path, capsys):
    manifest(one_file(server, zip_of({"2d/0/1-1.jpg": b"picture"})))
    assert download_archive("ward", tmp_path / "out") == tmp_path / "out"
    assert (tmp_path / "out" / "ward" / "2d" / "0" / "1-1.jpg").read_bytes() == b"picture"
    output = capsys.readouterr().err
    assert output.index("Licence: CC0") < output.index("Cite: Ward 2020") < output.index("ward.zip")
    assert "checksum is right" in output


def test_what_is_there_and_right_is_kept_and_what_is_wrong_fetched_again(server, manifest, tmp_path):
    bodies = {"one.bin": b"1" * 10, "two.bin": b"2" * 10}
    manifest({"files": [file for name, body in bodies.items() for file in one_file(server, body, name=name)["files"]]})
    (tmp_path / "one.bin").write_bytes(bodies["one.bin"])
    (tmp_path / "two.bin").write_bytes(b"half of it")
    download_archive("ward", tmp_path)
    assert server.asked == ["/two.bin"]
    assert (tmp_path / "two.bin").read_bytes() == bodies["two.bin"]


def test_a_second_download_fetches_and_unpacks_nothing(server, manifest, tmp_path):
    manifest(one_file(server, zip_of({"a.jpg": b"picture"})))
    download_archive("ward", tmp_path)
    (tmp_path / "ward" / "a.jpg").write_bytes(b"mine")
    download_archive("ward", tmp_path)
    assert server.asked == ["/ward.zip"]
    assert (tmp_path / "ward" / "a.jpg").read_bytes() == b"mine"


def test_archives_of_one_name_but_for_the_suffix_get_folders_of_their_own(server, manifest, tmp_path):
    names = ("ward.zip", "ward.v2.zip", "b.zip", "c.zip", "c")
    server.files = {f"/{name}": zip_of({"a.txt": name.encode()}) for name in names}
    manifest({"files": [{"name": name, "url": f"{server.url}/{name}"} for name in names]})
    download_archive("ward", tmp_path)
    places = ("ward.zip.unpacked", "ward.v2.zip.unpacked", "b", "c.zip.unpacked")
    for place, name in zip(places, names, strict=False):
        assert (tmp_path / place / "a.txt").read_text() == name


def test_what_a_killed_download_left_goes(server, manifest, tmp_path):
    left = tmp_path / download.UNFINISHED_DOWNLOAD / "tmpk1ll3d"
    left.parent.mkdir()
    left.write_bytes(b"half of it")
    server.files["/one.bin"] = b"whole"
    manifest({"files": [{"name": "one.bin", "url": f"{server.url}/one.bin"}]})
    download_archive("ward", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["one.bin"]


def test_a_wrong_checksum_is_refused_and_nothing_is_left(server, manifest, tmp_path):
    manifest(one_file(server, b"evil", checksum=sha256(b"good")))
    with pytest.raises(SourceError, match="hash") as caught:
        download_archive("ward", tmp_path)
    assert "http://page" in caught.value.way_out
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_gives_the_servers_answer_and_keeps_the_finished(server, manifest, tmp_path):
    section = one_file(server, b"good", name="one.bin")
    section["files"].append({"name": "two.bin", "url": f"{server.url}/gone", "checksum": None})
    manifest(section)
    with pytest.raises(SourceError, match="the server answers 404"):
        download_archive("ward", tmp_path)
    assert (tmp_path / "one.bin").read_bytes() == b"good"


def test_a_refused_connection_is_said_in_one_line(manifest, tmp_path):
    manifest({"files": [{"name": "a.zip", "url": "http://127.0.0.1:9/a.zip"}]})
    with pytest.raises(SourceError, match="no connection") as caught:
        download_archive("ward", tmp_path)
    assert "\n" not in caught.value.problem


def test_files_of_a_doi_come_from_its_registry_with_their_checksums(server, manifest, tmp_path, monkeypatch):
    """Zenodo's answer as its interface gives it, from a local server."""
    from pooch import downloaders

    body = zip_of({"2d/0/1-1.jpg": b"picture"})
    server.files["/files/ward.zip"] = body
    listed = {"key": "ward.zip", "checksum": f"md5:{hashlib.md5(body).hexdigest()}"}
    listed["links"] = {"self": f"{server.url}/files/ward.zip"}
    server.files["/api/42"] = json.dumps({"id": 42, "files": [listed]}).encode()
    monkeypatch.setattr(downloaders.ZenodoRepository, "base_api_url", f"{server.url}/api")
    monkeypatch.setattr(downloaders, "doi_to_url", lambda doi, **_: "https://zenodo.org/records/42")
    manifest({"doi": "10.5281/zenodo.42"})
    download_archive("ward", tmp_path)
    assert (tmp_path / "ward" / "2d" / "0" / "1-1.jpg").read_bytes() == b"picture"

    listed["checksum"] = f"md5:{hashlib.md5(b'other').hexdigest()}"
    server.files["/api/42"] = json.dumps({"id": 42, "files": [listed]}).encode()
    with pytest.raises(SourceError, match="hash"):
        download_archive("ward", tmp_path / "again")


def test_a_source_behind_a_login_gets_the_page_and_the_steps(manifest, tmp_path, capsys):
    manifest({"steps": ["Log in.", "Download it."]})
    assert download_archive("ward", tmp_path / "out") is None
    output = capsys.readouterr().err
    for part in ("http://page", "1. Log in.", "2. Download it.", "3. fusionln cohort import ward"):
        assert part in output
    assert not (tmp_path / "out").exists()


def test_every_shipped_download_is_complete():
    assert set(downloadable()) >= {"cv4lymphnode", "us3m", "busi"}
    for name in downloadable():
        described = download.load_manifest(name)
        assert described["licence"]
        assert described["citation"]
        assert described["page"].startswith("https://")
        assert set(described["download"]) & {"doi", "files", "steps"}


def test_an_archive_that_nobody_described_is_unknown(tmp_path):
    with pytest.raises(SettingsError, match="unknown archive") as caught:
        download_archive("phantom", tmp_path)
    assert "busi" in caught.value.way_out


# --- unpacking -------------------------------------------------------------------------------------------------------


def refused(archive, tmp_path, problem):
    with pytest.raises(SourceError, match=problem):
        unpack(archive, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {archive.name}


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:/evil.txt"])
def test_a_zip_that_leads_out_of_its_folder_is_refused(tmp_path, name):
    archive = tmp_path / "a.zip"
    archive.write_bytes(zip_of({"fine.txt": b"fine", name: b"evil"}))
    refused(archive, tmp_path, "leads out of its folder")


def test_links_are_refused(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc")
    refused(archive, tmp_path, "is a link")
    archive.unlink()
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as file:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        file.addfile(link)
    refused(archive, tmp_path, "is a link")


def test_a_tar_that_leads_out_of_its_folder_is_refused(tmp_path):
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.addfile(tarfile.TarInfo("../evil.txt"), io.BytesIO())
    refused(archive, tmp_path, "leads out of its folder")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_a_bomb_is_refused_before_it_goes_off(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(download, "HARMLESS", 1_000_000)
    monkeypatch.setattr(tarfile.TarFile, "extract", None)
    members = {"zeros": bytes(3_000_000)}
    archive = tmp_path / f"a.{kind}"
    archive.write_bytes(zip_of(members) if kind == "zip" else tar_of(members, kind.partition(".")[2]))
    assert archive.stat().st_size < 10_000
    refused(archive, tmp_path, "MB would become 3 MB")


def test_a_damaged_archive_is_refused_whole(tmp_path):
    archive = tmp_path / "a.zip"
    whole = bytearray(zip_of({"fine.txt": b"fine", "random.bin": os.urandom(5000)}))
    whole[1000] ^= 255
    archive.write_bytes(whole)
    refused(archive, tmp_path, "cannot be unpacked")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_no_flipped_or_cut_byte_of_an_archive_passes(tmp_path, kind):
    """Whatever byte is wrong: all members as they were packed, or one message and nothing left."""
    members = {"a.jpg": bytes(range(256)) * 3, "b.jpg": b"text " * 200}
    whole = zip_of(members) if kind == "zip" else tar_of(members, kind.partition(".")[2])
    archive, out = tmp_path / f"a.{kind}", tmp_path / "out"
    damaged = [whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :] for at in range(0, len(whole), 5)]
    damaged += [whole[:at] for at in range(0, len(whole), 17)]
    n_refused = 0
    for body in damaged:
        archive.write_bytes(body)
        try:
            unpack(archive, out)
        except SourceError:
            n_refused += 1
            assert list(tmp_path.iterdir()) == [archive]
        else:
            assert {path.name: path.read_bytes() for path in out.iterdir()} == members
            shutil.rmtree(out)
    assert n_refused > 0.8 * len(damaged)


def test_a_tar_whose_headers_are_damaged_or_that_is_cut_is_refused(tmp_path):
    """Python's reader takes either for the end of the archive and drops what follows."""
    whole = bytearray(tar_of({"a.jpg": b"first", "b.jpg": b"second"}))
    archive = tmp_path / "a.tar"
    archive.write_bytes(whole[:1024])
    refused(archive, tmp_path, "no further member and no end at byte 1024")
    whole[1024 + 100] ^= 1  # the mode in the second member's header
    archive.write_bytes(whole)
    refused(archive, tmp_path, "no further member and no end at byte 1024")


def test_an_archive_that_no_longer_looks_like_one_is_not_kept_in_silence(server, manifest, tmp_path):
    manifest(one_file(server, zip_of({"a.jpg": b"picture"})[:-30]))
    with pytest.raises(SourceError, match=r"ward.zip: cannot be unpacked"):
        download_archive("ward", tmp_path)


def test_a_tar_unpacks_to_what_was_packed(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("fine")
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as file:
        file.add(tmp_path / "in", arcname="folder")
    unpack(tmp_path / "a.tgz", tmp_path / "out")
    assert (tmp_path / "out" / "folder" / "a.txt").read_text() == "fine"
