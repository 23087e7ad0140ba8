"""The commands as they are typed: what they print, where they write, and one message for every mistake."""

import signal
import struct
import subprocess
import sys
import zlib
from functools import partial

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import handled, invoke

from fusion_ln.cohort import download
from fusion_ln.cohort.folder import load_cohort


@pytest.fixture
def fusionln():
    """Run a command; returns its exit code and what it printed, and insists that no traceback is among it."""
    return partial(invoke, "cohort")


@pytest.fixture
def raw(tmp_path, rng):
    """Six patients of two classes in the layout of cv4lymphnode, grey scale only."""
    for label in "02":
        for number in range(6):
            path = tmp_path / "raw" / "2d" / label / f"{number}-1.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
            coarse.resize((32, 32), Image.Resampling.BICUBIC).convert("RGB").save(path)
    return tmp_path / "raw"


def test_import_check_and_folds_go_hand_in_hand(fusionln, raw, tmp_path):
    out = tmp_path / "cohort"
    code, printed = fusionln("import", "cv4lymphnode", raw, "--out", out, "--seed", 3)
    assert code == 0
    assert "12 patients (benign 6, metastatic 6); 12 pictures (2d 12)" in printed
    assert f"Wrote {out} (cohort, 5 folds)" in printed
    code, printed = fusionln("check", out)
    assert code == 0
    assert "Nothing wrong or odd was found." in printed
    assert "so there is nothing to test" in printed
    assert f"Wrote {out / 'check.csv'} (0 findings)" in printed
    code, printed = fusionln("folds", out, "--folds", 3)
    assert (code, load_cohort(out).n_folds) == (0, 3)
    assert f"Wrote {out} (cohort, 3 folds)" in printed


def test_check_exits_with_one_when_something_must_be_mended(fusionln, raw, tmp_path):
    (raw / "2d" / "2" / "0-1.png").write_bytes((raw / "2d" / "0" / "0-1.png").read_bytes())
    fusionln("import", "cv4lymphnode", raw, "--out", tmp_path / "cohort")
    code, printed = fusionln("check", tmp_path / "cohort")
    assert code == 1
    assert "under two labels (1)" in printed
    assert "--leave-out" in printed
    assert pd.read_csv(tmp_path / "cohort" / "check.csv")["kind"].tolist() == ["two labels"]


def test_check_tells_that_which_pictures_exist_goes_with_the_class(fusionln, make_cohort):
    cohort = make_cohort(24, absent={number: {"elastic"} for number in range(3, 24, 3)})
    code, printed = fusionln("check", cohort.root)
    assert code == 0
    assert "Which pictures exist predicts the class with an AUC of" in printed
    assert "That is a link (p < 0.01)" in printed


def test_patient_pattern_classes_and_leave_out_reach_the_source(fusionln, raw, tmp_path):
    options = ["--patient-pattern", r"^\d+-(\d+)", "--leave-out", "2d/2/*"]
    code, printed = fusionln("import", "cv4lymphnode", raw, "--out", tmp_path / "a", *options)
    assert code == 1
    assert "only one class" in printed
    (raw / "2d" / "patients.csv").write_text(
        "patient_id,label,2d\n" + "".join(f"{n},{n % 2},0/{n}-1.png\n" for n in range(6))
    )
    arguments = ["import", "table", raw / "2d" / "patients.csv", "--classes", "cold, hot", "--folds", 2]
    code, _ = fusionln(*arguments, "--out", tmp_path / "b")
    assert (code, load_cohort(tmp_path / "b").classes) == (0, ("cold", "hot"))


def test_phantom_writes_a_simulated_cohort_also_with_a_fold_per_site(fusionln, tmp_path):
    arguments = ["--patients", 45, "--image-size", 32, "--out", tmp_path / "phantom", "--folds", "site"]
    code, printed = fusionln("phantom", *arguments)
    assert code == 0
    assert "(simulated cohort, 3 folds)" in printed
    assert load_cohort(tmp_path / "phantom").simulated


def test_download_of_a_source_behind_a_login_prints_the_steps(fusionln, tmp_path):
    code, printed = fusionln("download", "us3m", "--out", tmp_path / "us3m")
    assert code == 0
    assert "kaggle.com" in printed
    assert "Wrote" not in printed
    assert not (tmp_path / "us3m").exists()


def test_a_download_that_fails_is_one_message(fusionln, tmp_path, monkeypatch):
    described = download.load_manifest("busi") | {"download": {"files": [{"name": "a", "url": "http://127.0.0.1:9/a"}]}}
    monkeypatch.setattr(download, "load_manifest", lambda name: described)
    code, printed = fusionln("download", "busi", "--out", tmp_path / "busi")
    assert code == 1
    assert "Error: http://127.0.0.1:9/a: cannot be fetched (no connection" in printed


def png_of_size(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cut.png", None, "truncated"),
        ("empty.png", b"", "empty"),
        ("text.png", b"this is a text", "holds text"),
        ("bomb.png", png_of_size(60_000, 60_000), "36 megapixels"),
        ("dot.png", png_of_size(1, 1), "1 x 1 pixels"),
        ("dicom.dcm", bytes(128) + b"DICM", "without a picture"),
    ],
)
def test_a_bad_picture_is_one_message_and_nothing_is_written(fusionln, raw, tmp_path, name, content, reason):
    good = (raw / "2d" / "0" / "0-1.png").read_bytes()
    (raw / "2d" / "0" / name).write_bytes(good[:-100] if content is None else content)
    code, printed = fusionln("import", "cv4lymphnode", raw, "--out", tmp_path / "cohort")
    assert code == 1
    assert printed.count("Error:") == 1
    assert name in printed
    assert reason in printed
    assert not (tmp_path / "cohort").exists()


def test_pictures_of_every_odd_kind_are_imported(fusionln, raw, tmp_path):
    folder = raw / "2d" / "0"
    grey = Image.fromarray(np.arange(32 * 32, dtype=np.uint8).reshape(32, 32))
    Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32) * 64).save(folder / "10-1.png")
    grey.convert("CMYK").save(folder / "11-1.jpg")
    grey.convert("P").save(folder / "12-1.png")
    grey.convert("RGBA").save(folder / "13-1.png")
    grey.save(folder / "14-1.gif", save_all=True, append_images=[grey.rotate(90)])
    code, printed = fusionln("import", "cv4lymphnode", raw, "--out", tmp_path / "cohort")
    assert (code, "17 pictures" in printed) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["import", "cv4lymphnode", "{tmp}/nowhere", "--out", "{tmp}/c"], 1, "no such folder"),
        (["import", "cv4lymphnode", "{tmp}/hollow", "--out", "{tmp}/c"], 1, "hollow: empty"),
        (["import", "busy", "{raw}", "--out", "{tmp}/c"], 1, "Did you mean 'busi'"),
        (["import", "busi", "{raw}", "--out", "{tmp}/c", "--classes", "a,b"], 2, "No such option"),
        (["import", "table", "{tmp}/no.csv", "--out", "{tmp}/c", "--classes", "a"], 1, "two or more different names"),
        (["import", "table", "{tmp}/no.csv", "--out", "{tmp}/c"], 1, "no such file"),
        (["import", "cv4lymphnode", "{raw}"], 2, "Missing option '--out'"),
        (["import", "cv4lymphnode", "{raw}", "--out", "{raw}"], 1, "holds something else (2d)"),
        (["import", "cv4lymphnode", "{raw}", "--out", "{tmp}/c", "--folds", "7"], 1, "fewer than the 7 folds"),
        (["import", "cv4lymphnode", "{raw}", "--out", "{tmp}/c", "--folds", "site"], 1, "at least two sites"),
        (
            ["import", "cv4lymphnode", "{raw}", "--out", "{tmp}/c", "--folds", "1"],
            2,
            "neither a number from 2 to 9999 nor 'site'",
        ),
        (
            ["import", "cv4lymphnode", "{raw}", "--out", "{tmp}/c", "--frame", "1"],
            1,
            "12 of 12 pictures cannot be read",
        ),
        (["import", "cv4lymphnode", "{raw}", "--out", "/proc/c"], 1, "cannot be written"),
        (["check", "{tmp}/nowhere"], 1, "so it is not a cohort"),
        (["folds", "{raw}"], 1, "so it is not a cohort"),
        (["download", "ddsm"], 1, "ddsm: unknown archive"),
        (["phantom", "--out", "{raw}"], 1, "holds something else"),
        (["phantom", "--out", "{tmp}/c", "--patients", "0"], 2, "--patients"),
    ],
)
def test_a_mistake_ends_in_one_message(fusionln, raw, tmp_path, arguments, code, message):
    (tmp_path / "hollow").mkdir()
    arguments = [argument.format(tmp=tmp_path, raw=raw) for argument in arguments]
    got, printed = fusionln(*arguments)
    assert got == code
    assert printed.count("Error: ") == 1
    assert message in printed
    assert not (tmp_path / "c").exists()


def test_check_refuses_a_changed_table_until_the_folds_are_redrawn(fusionln, raw, tmp_path):
    out = tmp_path / "cohort"
    fusionln("import", "cv4lymphnode", raw, "--out", out)
    patients = pd.read_parquet(out / "patients.parquet")
    patients.assign(age=40).to_parquet(out / "patients.parquet", index=False)
    code, printed = fusionln("check", out)
    assert code == 1
    assert f"fusionln cohort folds {out}" in printed
    assert fusionln("folds", out)[0] == 0
    assert fusionln("check", out)[0] == 0


@pytest.fixture
def untouched_sigterm():
    """Python's own way with SIGTERM: Ray leaves its handler in the process of an earlier test."""
    with handled(signal.SIGTERM, signal.SIG_DFL):
        yield


@pytest.mark.usefixtures("untouched_sigterm")
@pytest.mark.parametrize(("end", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_or_sigterm_ends_an_import_cleanly(fusionln, raw, tmp_path, monkeypatch, end, exit_code):
    from fusion_ln.cohort import raw_pictures

    def interrupted(path, *, frame):
        signal.raise_signal(end) if end == signal.SIGTERM else signal.default_int_handler(end, None)

    monkeypatch.setattr(raw_pictures, "read_picture", interrupted)
    code, printed = fusionln("import", "cv4lymphnode", raw, "--out", tmp_path / "cohort")
    assert code == exit_code
    assert "Interrupted" in printed
    assert not (tmp_path / "cohort").exists()


def test_help_loads_nothing_heavy():
    """`fusionln --help` answers at once: neither pandas nor torch nor scikit-learn is imported for it."""
    code = "import sys, fusion_ln.cli.cohort; print(*({'pandas', 'numpy', 'torch', 'sklearn'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == ""


@pytest.mark.parametrize("command", [("cohort", "check"), ("predict",), ("run", "fusion", "--cohort"), ("explain",)])
def test_a_place_whose_name_is_no_text_is_refused_in_words(command):
    code, said = invoke(*command, "caf\udce9")
    assert code == 2
    assert "Error: caf\\xe9: is not UTF-8 text. Rename it" in said
