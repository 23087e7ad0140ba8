"""The package's source as an archive, and where its metadata say that it is."""

import io
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import fusion_ln
from fusion_ln.export import source

REPOSITORY = Path(fusion_ln.__file__).parents[1]


def unpack(data):
    with ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_archive_is_the_package_that_runs_with_its_licence():
    root, held = f"fusion_ln-{fusion_ln.__version__}", unpack(source.pack_source())
    assert {name.split("/")[0] for name in held} == {root}
    code = {path for path in (REPOSITORY / "fusion_ln").rglob("*.py") if "node_modules" not in path.parts}
    packed = {name for name in held if name.endswith(".py")}
    assert packed == {f"{root}/{path.relative_to(REPOSITORY).as_posix()}" for path in code}
    assert all(held[f"{root}/{path.relative_to(REPOSITORY).as_posix()}"] == path.read_bytes() for path in code)
    assert held[f"{root}/LICENSE"] == (Path(__file__).parents[2] / "LICENSE").read_bytes()
    assert b"License-Expression: Apache-2.0" in held[f"{root}/PKG-INFO"]
    assert f"{root}/fusion_ln/data_manifests/cv4lymphnode.toml" in held
    assert not [name for name in held if name.startswith("/") or ".." in name]
    assert str(REPOSITORY).encode() not in held[f"{root}/PKG-INFO"]


def test_the_archive_holds_nothing_that_lies_about_in_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "PACKAGE", tmp_path)
    names = ["cli.py", "serve/templates/a.html", ".env", ".cache/a.py", "static/a.js", "key.pem", "scores.parquet"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "linked.py").symlink_to(tmp_path / ".env")
    held = unpack(source.pack_source.__wrapped__())
    assert {name.split("/", 2)[2] for name, data in held.items() if data == b"x"} == {"cli.py", names[1]}


def test_addresses_of_code_are_those_that_the_metadata_name_so(monkeypatch):
    found = Message()
    found["License-Expression"] = "MIT"
    for entry in ("Documentation, https://docs.example", "Source Code, https://git.example/f", "homepage, https://x"):
        found["Project-URL"] = entry
    monkeypatch.setattr(source, "metadata", lambda name: found)
    expected = {"title": "fusion_ln: Source Code", "url": "https://git.example/f", "licence": "MIT"}
    assert source.source_links() == [expected]
