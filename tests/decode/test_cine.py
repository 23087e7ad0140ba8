"""Cines: videos, multi-frame DICOM files and animations give the frames that were written."""

import os
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from cines import WRITERS, draw_cine, write_dicom, write_dicom_video, write_video
from PIL import Image

from fusion_ln.decode.cine import open_cine
from fusion_ln.errors import PictureError

SHARED = Path(os.environ.get("FUSIONLN_SHARED", Path(__file__).parents[3] / "shared"))


@pytest.fixture(params=WRITERS)
def suffix(request):
    pytest.importorskip({".avi": "av", ".dcm": "pydicom"}.get(request.param, "PIL"))
    return request.param


def test_frames_are_those_that_were_written(tmp_path, suffix):
    frames = draw_cine(5, sharp={1: 1, 3: 0})
    cine = open_cine(WRITERS[suffix](tmp_path / f"a{suffix}", frames))
    assert cine.n_frames == 5
    read = dict(cine.read([3, 1]))
    assert list(read) == [1, 3]
    for number, pixels in [*read.items(), (2, cine.middle())]:
        np.testing.assert_allclose(pixels.astype(float), frames[number], atol=24 if suffix == ".avi" else 0)


def test_a_cine_that_ends_early_is_refused(tmp_path, suffix):
    path = WRITERS[suffix](tmp_path / f"a{suffix}", draw_cine(9, sharp={}))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    with pytest.raises(PictureError, match=rf"a\{suffix}: (ends|stops|truncated|holds other)"):
        open_cine(path)


def test_a_video_within_dicom_is_a_cine(tmp_path):
    pytest.importorskip("av")
    pytest.importorskip("pydicom")
    frames = draw_cine(6, sharp={}, flow=(0, 10, 20, 30, 40, 50))
    path = write_dicom_video(tmp_path / "a.dcm", frames)
    cine = open_cine(path)
    assert cine.n_frames == 6
    for number, pixels in cine.read([1, 5]):
        assert np.abs(pixels.astype(float) - frames[number]).mean() < 6
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(PictureError, match=r"a\.dcm: (ends|stops|truncated|cannot|holds no)"):
        open_cine(path)


def test_a_still_picture_is_no_cine(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    assert open_cine(tmp_path / "a.png") is None


def test_a_file_without_frames_is_refused(tmp_path):
    pytest.importorskip("pydicom")
    path = write_dicom(tmp_path / "a.dcm", draw_cine(2, sharp={}), NumberOfFrames=0)
    with pytest.raises(PictureError, match=r"a\.dcm: its frames are too many to be counted, or none"):
        open_cine(path)
    pytest.importorskip("av")
    with wave.open(str(tmp_path / "a.avi"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(4000))
    with pytest.raises(PictureError, match=r"a\.avi: holds no moving picture"):
        open_cine(tmp_path / "a.avi")


def test_frames_of_two_sizes_are_refused(tmp_path):
    frames = [Image.new("RGB", (side, side)) for side in (20, 30)]
    frames[0].save(tmp_path / "a.tiff", save_all=True, append_images=frames[1:])
    with pytest.raises(PictureError, match=r"a\.tiff: frame 1 is of another size"):
        list(open_cine(tmp_path / "a.tiff").read([0, 1]))


def test_without_pyav_the_way_to_install_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.avi").touch()
    with pytest.raises(PictureError, match=r"PyAV is not installed.*\n.*fusion_ln\[video\]"):
        open_cine(tmp_path / "a.avi")


def test_a_video_is_known_by_its_content(tmp_path):
    pytest.importorskip("av")
    write_video(tmp_path / "a.avi", draw_cine(3, sharp={})).rename(tmp_path / "a.png")
    assert open_cine(tmp_path / "a.png").n_frames == 3


@pytest.mark.real_data
@pytest.mark.skipif(not (SHARED / "data" / "pocus").is_dir(), reason="no real videos here")
def test_real_videos_of_five_formats_decode_to_frames():
    """Three of them state fewer frames than they hold."""
    pytest.importorskip("av")
    videos = sorted((SHARED / "data" / "pocus" / "pocus_videos").rglob("*.*"))
    assert len(videos) == 10
    for path in videos:
        cine = open_cine(path)
        frames = [pixels for _, pixels in cine.read([cine.n_frames // 8, cine.n_frames - 1])]
        assert all(frame.ndim == 3 and min(frame.shape[:2]) > 200 and frame.std() > 5 for frame in frames)
        assert not np.array_equal(frames[0], frames[1])
