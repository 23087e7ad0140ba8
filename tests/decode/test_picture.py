import resource
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fusion_ln.decode import bounded, limits, picture
from fusion_ln.decode.picture import UNCOUNTED, count_frames, looks_like_picture, picture_size, read_picture
from fusion_ln.decode.streams import has_too_many_scans
from fusion_ln.errors import PictureError


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def peak_mib():
    """Most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def png_of_size(width, height):
    """A PNG that claims that size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# --- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_lossless_formats_give_back_their_pixels(tmp_path, pixels, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, lossless=True)
    np.testing.assert_array_equal(read_picture(path), pixels)
    assert picture_size(path) == (30, 20)


def test_jpeg_is_close_to_its_pixels(tmp_path):
    smooth = np.full((32, 32, 3), (200, 40, 90), np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_picture(tmp_path / "a.jpg").astype(int) - smooth).max() <= 3


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red = read_picture(tmp_path / "a.jpg")[16, 16].astype(int)
    assert red[0] > 230
    assert max(red[1], red[2]) < 40


def test_palette_one_bit_and_grey_become_rgb(tmp_path, pixels):
    image = Image.fromarray(pixels)
    for mode in ("P", "1", "L"):
        converted = image.convert(mode)
        converted.save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), np.asarray(converted.convert("RGB")))


def test_transparency_is_laid_over_black(tmp_path, pixels):
    alpha = np.full((20, 30, 1), 255, np.uint8)
    alpha[:10] = 0
    Image.fromarray(np.concatenate([pixels, alpha], axis=2)).save(tmp_path / "rgba.png")
    Image.fromarray(np.concatenate([pixels[..., :1], alpha], axis=2)).save(tmp_path / "la.png")
    for name, bottom in (("rgba", pixels[10:]), ("la", pixels[10:, :, :1].repeat(3, 2))):
        read = read_picture(tmp_path / f"{name}.png")
        assert not read[:10].any()
        np.testing.assert_array_equal(read[10:], bottom)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_grey_is_mapped_from_its_own_range(tmp_path, bits):
    """A 16-bit file does not tell how many bits are used: 12 in 16 must not come out nearly black."""
    deep = np.linspace(0, 2**bits - 1, 20 * 30).astype(np.uint16).reshape(20, 30)
    Image.fromarray(deep).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_picture(tmp_path / "a.png")[..., 1], deep / (2**bits - 1) * 255, atol=0.51)


def test_exif_orientation_is_applied_to_pixels_and_size(tmp_path, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to view
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), np.rot90(pixels, -1))
    assert picture_size(tmp_path / "a.png") == (20, 30)


def test_animation_gives_the_frame_asked_for(tmp_path):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50)
    assert read_picture(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]
    assert read_picture(tmp_path / "a.gif", frame=2)[0, 0].tolist() == [0, 0, 255]
    with pytest.raises(PictureError, match=r"frame 3 .*holds 3"):
        read_picture(tmp_path / "a.gif", frame=3)


def test_every_ending_of_a_picture_is_known(tmp_path):
    """Also of DICOM files that are named after their number."""
    (tmp_path / "1.2.840.55").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "notes.55").write_bytes(bytes(200))
    for name in ("a.jpe", "A.JPG", "a.jfif", "a.ima", "a.heic", "a.jp2", "a.mp4", "1.2.840.55"):
        assert looks_like_picture(tmp_path / name), name
    for name in ("notes.55", "a.txt", "a.csv", "x" * 300):
        assert not looks_like_picture(tmp_path / name), name


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # pytest switches it on again
def test_each_unreadable_picture_is_refused_by_name(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "whole.png")
    Image.fromarray(pixels).save(tmp_path / "whole.jpg")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("patient_id,label\n1,0\n")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-200])
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-200])
    (tmp_path / "bomb.png").write_bytes(png_of_size(60_000, 60_000))
    (tmp_path / "large.png").write_bytes(png_of_size(12_000, 12_000))
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text.dcm").write_text("not a picture")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    Image.fromarray(np.zeros((20, 20), np.float32)).save(tmp_path / "float.tiff")
    expected = {
        "missing.png": "no such file",
        "empty.png": "empty",
        "text.png": "holds text, not a picture",
        "cut.png": "truncated",
        "cut.jpg": "truncated",
        "bomb.png": "36 megapixels",
        "large.png": "12000 x 12000 pixels, more than 36 megapixels",
        "folder.png": "not a file",
        "text.dcm": "without a picture",
        "dot.png": "1 x 1 pixels; at least 16",
        "float.tiff": "32-bit",
    }
    for name, reason in expected.items():
        with pytest.raises(PictureError) as caught:
            read_picture(tmp_path / name)
        assert name in caught.value.problem, name
        assert reason in caught.value.problem, name
        assert caught.value.way_out, name


@pytest.mark.parametrize("chunk", [b"zTXt", b"iCCP", b"iTXt"])
def test_a_compressed_chunk_that_inflates_without_end_is_cut_off(tmp_path, pixels, chunk):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    packed = zlib.compress(bytes(200 * 2**20), 9)
    body = b"key\0" + (b"\1\0\0\0" if chunk == b"iTXt" else b"\0") + packed
    bomb = struct.pack(">I", len(body)) + chunk + body + struct.pack(">I", zlib.crc32(chunk + body))
    (tmp_path / "bomb.png").write_bytes(whole[:33] + bomb + whole[33:])  # after the header
    before = peak_mib()
    with suppress(PictureError):
        read_picture(tmp_path / "bomb.png")
    assert peak_mib() - before < 150


def test_a_png_of_countless_chunks_or_profiles_is_refused(tmp_path, pixels, monkeypatch):
    """Pillow inflates every profile, and needs a minute for five million chunks."""
    monkeypatch.setattr(bounded, "MAX_CHUNKS", 20)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    for kind, number, problem in ((b"abCd", 30, "more than 20 chunks"), (b"iCCP", 2, "several colour profiles")):
        chunk = struct.pack(">I", 0) + kind + struct.pack(">I", zlib.crc32(kind))
        (tmp_path / "bomb.png").write_bytes(whole[:33] + number * chunk + whole[33:])
        with pytest.raises(PictureError, match=problem):
            read_picture(tmp_path / "bomb.png")


def test_a_jpeg_of_countless_segments_is_refused(tmp_path, pixels, monkeypatch):
    monkeypatch.setattr(picture, "MAX_PILLOW_READS", 200)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    read_picture(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[:2] + b"\xff\xfe\0\2" * 200 + whole[2:])
    with pytest.raises(PictureError, match="cut into more pieces"):
        read_picture(tmp_path / "a.jpg")


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_deep_colour_is_refused_and_not_cut_to_its_high_byte(tmp_path, samples):
    """12 bits in 16 came out as 0..15 of 255. PNG colour types: 4 is grey with alpha, 2 RGB, 6 RGB with alpha."""
    header = struct.pack(">IIBBBBB", 20, 20, 16, {2: 4, 3: 2, 4: 6}[samples], 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(2 * 20 * samples)) * 20)
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    ]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(PictureError, match="16 bits a sample"):
        read_picture(tmp_path / "a.png")


def test_deep_colour_of_a_tiff_is_refused(tmp_path):
    """Little endian, one strip, 16 bits in each of three samples."""
    values = {256: 20, 257: 20, 259: 1, 262: 2, 273: 200, 277: 3, 278: 20, 279: 20 * 20 * 6}
    entries = [(tag, struct.pack("<HHIHH", tag, 3, 1, value, 0)) for tag, value in values.items()]
    entries.append((258, struct.pack("<HHII", 258, 3, 3, 150)))
    directory = struct.pack("<H", len(entries)) + b"".join(entry for _, entry in sorted(entries)) + bytes(4)
    content = (b"II*\0" + struct.pack("<I", 8) + directory).ljust(150, b"\0") + struct.pack("<HHH", 16, 16, 16)
    (tmp_path / "a.tiff").write_bytes(content.ljust(200, b"\0") + bytes(20 * 20 * 6))
    with pytest.raises(PictureError, match="16 bits a sample"):
        read_picture(tmp_path / "a.tiff")


def test_countless_scans_are_refused_and_bytes_after_the_end_not_counted(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.jpg", progressive=True)
    whole = (tmp_path / "a.jpg").read_bytes()
    assert whole.count(b"\xff\xda") > 5
    expected = read_picture(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(whole + b"\xff\xda" * 200)  # a film behind a photo
    np.testing.assert_array_equal(read_picture(tmp_path / "b.jpg"), expected)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    (tmp_path / "c.jpg").write_bytes(whole[:-2] + last * 100 + whole[-2:])
    with pytest.raises(PictureError, match="more than 100 scans"):
        read_picture(tmp_path / "c.jpg")
    some = whole[:-2] + last * 15 + whole[-2:]
    assert not has_too_many_scans(some, 20_000_000)
    assert has_too_many_scans(some, 36_000_000)  # which may have 20


def test_frames_are_counted_within_bounds(tmp_path, pixels, monkeypatch):
    frames = [Image.fromarray(pixels + number) for number in range(1, 9)]
    for suffix in ("gif", "tiff"):
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
        assert count_frames(tmp_path / f"a.{suffix}") == 8
    monkeypatch.setattr(picture, "MAX_COUNTING_READS", 40)
    assert count_frames(tmp_path / "a.tiff") == UNCOUNTED
    assert read_picture(tmp_path / "a.tiff").shape == pixels.shape


def test_a_file_longer_than_any_picture_is_not_read_whole(tmp_path, pixels, monkeypatch):
    Image.fromarray(pixels).save(tmp_path / "a.webp")
    with (tmp_path / "a.webp").open("ab") as file:
        file.write(bytes(20_000))
    read_picture(tmp_path / "a.webp")
    monkeypatch.setattr(bounded, "MAX_BYTES", 10_000)
    with pytest.raises(PictureError, match="would have to be read"):
        read_picture(tmp_path / "a.webp")


def test_a_picture_higher_than_a_strip_is_whole(tmp_path, rng):
    for shape in ((700, 20, 3), (700, 20, 4), (513, 20, 2)):
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        expected = pixels if shape[2] == 3 else np.rint(pixels[..., :-1] * (pixels[..., -1:] / 255.0))
        assert np.abs(read_picture(tmp_path / "a.png") - expected.astype(int)).max() <= 1


def test_a_later_frame_that_is_larger_is_refused_too(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_PIXELS", 1000)
    frames = [Image.new("L", (20, 20), level) for level in (0, 255)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    whole = bytearray((tmp_path / "a.gif").read_bytes())
    at = whole.rindex(b"\x2c") + 5  # width and height of the second frame
    whole[at : at + 4] = struct.pack("<HH", 200, 200)
    (tmp_path / "a.gif").write_bytes(whole)
    read_picture(tmp_path / "a.gif")
    with pytest.raises(PictureError, match="200 x 200 pixels"):
        read_picture(tmp_path / "a.gif", frame=1)


def test_size_is_refused_from_the_header_alone(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_of_size(60_000, 60_000))
    with pytest.raises(PictureError, match="megapixels"):
        picture_size(tmp_path / "bomb.png")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow grumbles about what it can still read
@settings(max_examples=150, deadline=None)
@given(data=st.data(), suffix=st.sampled_from(["png", "jpg", "gif", "bmp", "tiff"]))
def test_damaged_bytes_give_a_picture_or_one_clear_error(tmp_path_factory, data, suffix):
    path = tmp_path_factory.mktemp("damaged") / f"a.{suffix}"
    Image.fromarray(np.arange(20 * 20, dtype=np.uint8).reshape(20, 20)).save(path)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(1, len(whole)))])
    with suppress(PictureError):
        read = read_picture(path)
        assert read.dtype == np.uint8
        assert read.shape[2] == 3
