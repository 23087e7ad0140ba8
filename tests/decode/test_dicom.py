"""DICOM files made by the test, against pydicom's own transformations and Pillow."""

import io
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusion_ln.decode import bounded, dicom
from fusion_ln.decode.dicom import MAX_INFLATED, open_dicom
from fusion_ln.decode.picture import looks_like_picture, picture_size, read_picture
from fusion_ln.decode.streams import stream_size
from fusion_ln.errors import PictureError

pydicom = pytest.importorskip("pydicom")
encapsulate = pydicom.encaps.encapsulate
apply_color_lut, convert_color_space = pydicom.pixels.apply_color_lut, pydicom.pixels.convert_color_space
apply_modality_lut, apply_voi_lut = pydicom.pixels.apply_modality_lut, pydicom.pixels.apply_voi_lut

JPEG, JPEG_LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.91"
RLE, DEFLATED, MPEG4 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.102"


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def make_dicom(pixels, photometric, **tags):
    """A data set of ``pixels``: (H, W), (H, W, 3), or with frames before them."""
    samples = 1 if photometric.startswith(("MONO", "PALETTE")) else 3
    rows, columns = pixels.shape[-3:-1] if samples == 3 else pixels.shape[-2:]
    header = pydicom.Dataset()
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    header.SOPInstanceUID = "1.2.3"
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.Rows, header.Columns, header.SamplesPerPixel = rows, columns, samples
    header.PhotometricInterpretation = photometric
    header.PlanarConfiguration = 0
    header.BitsAllocated = 8 * pixels.itemsize
    header.BitsStored = tags.pop("BitsStored", header.BitsAllocated)
    header.HighBit = header.BitsStored - 1
    header.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim > (3 if samples == 3 else 2):
        header.NumberOfFrames = pixels.shape[0]
    for name, value in tags.items():
        setattr(header, name, value)
    header.PixelData = pixels.tobytes()
    return header


def save_dicom(path, pixels, photometric, *, preamble=True, **tags):
    """Write `make_dicom` uncompressed."""
    header = make_dicom(pixels, photometric, **tags)
    header.save_as(path, enforce_file_format=preamble, implicit_vr=False, little_endian=True)


def save_compressed(path, pixels, photometric, syntax, streams, **tags):
    """Write encapsulated frames that are compressed already."""
    header = make_dicom(pixels, photometric, **tags)
    header.file_meta.TransferSyntaxUID = syntax
    header.PixelData = encapsulate(streams)
    header["PixelData"].VR = "OB"
    header["PixelData"].is_undefined_length = True
    header.save_as(path, enforce_file_format=True)


def test_dicom_rgb_is_read_by_its_content_without_a_suffix(tmp_path, pixels):
    save_dicom(tmp_path / "IM0001", pixels, "RGB")
    assert looks_like_picture(tmp_path / "IM0001")
    np.testing.assert_array_equal(read_picture(tmp_path / "IM0001"), pixels)
    assert picture_size(tmp_path / "IM0001") == (30, 20)


def test_dicom_monochrome_keeps_eight_bits_and_monochrome1_is_inverted(tmp_path, pixels):
    for photometric, expected in (("MONOCHROME2", pixels[..., 0]), ("MONOCHROME1", 255 - pixels[..., 0])):
        save_dicom(tmp_path / "a.dcm", pixels[..., 0], photometric)
        np.testing.assert_array_equal(read_picture(tmp_path / "a.dcm"), expected[..., None].repeat(3, 2))


def test_dicom_window_is_applied(tmp_path):
    """DICOM PS3.3 C.11.2.1.2.1 by hand: centre 2048, width 1024 of 12 bits maps 1536..2559 to black..white."""
    stored = np.linspace(0, 4095, 400).astype(np.uint16).reshape(20, 20)
    save_dicom(tmp_path / "a.dcm", stored, "MONOCHROME2", BitsStored=12, WindowCenter="2048", WindowWidth="1024")
    expected = np.clip(((stored - 2047.5) / 1023 + 0.5) * 255, 0, 255)
    np.testing.assert_allclose(read_picture(tmp_path / "a.dcm")[..., 0], expected, atol=0.51)


def test_dicom_rescale_does_not_change_what_is_shown(tmp_path, pixels):
    save_dicom(tmp_path / "a.dcm", pixels[..., 0], "MONOCHROME2", RescaleSlope="2", RescaleIntercept="-100")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.dcm")[..., 0], pixels[..., 0])


def test_deep_dicom_without_a_window_is_spread_over_its_own_range(tmp_path):
    stored = np.linspace(100, 300, 400).astype(np.uint16).reshape(20, 20)
    save_dicom(tmp_path / "a.dcm", stored, "MONOCHROME2", BitsStored=12)
    read = read_picture(tmp_path / "a.dcm")
    assert (read.min(), read.max()) == (0, 255)


def test_dicom_ybr_becomes_rgb(tmp_path, pixels):
    ybr = np.asarray(Image.fromarray(pixels).convert("YCbCr"))
    save_dicom(tmp_path / "a.dcm", ybr, "YBR_FULL")
    assert np.abs(read_picture(tmp_path / "a.dcm").astype(int) - pixels).max() <= 3


def test_dicom_multi_frame_gives_the_frame_asked_for(tmp_path, pixels):
    frames = np.stack([pixels, 255 - pixels])
    save_dicom(tmp_path / "a.dcm", frames, "RGB")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.dcm", frame=1), 255 - pixels)
    with pytest.raises(PictureError, match="holds 2"):
        read_picture(tmp_path / "a.dcm", frame=2)


@pytest.mark.parametrize("name", ["examples_palette", "examples_rgb_color", "examples_ybr_color"])
def test_ultrasound_dicom_of_several_kinds_agrees_with_pydicom(name):
    """Palette, RGB and YBR_FULL_422 ultrasound; those that come with pydicom (no download)."""
    path = pydicom.data.get_testdata_file(f"{name}.dcm", download=False)
    if path is None:
        pytest.skip("this pydicom comes without the file")
    decoder = "pillow" if "ybr" in name else ""  # decoders of JPEG differ by rounding
    shown = pydicom.pixels.utils.pixel_array(path, index=0, decoding_plugin=decoder)
    if shown.ndim == 2:
        shown = pydicom.pixels.processing.apply_color_lut(shown, pydicom.dcmread(path))
    np.testing.assert_array_equal(read_picture(Path(path)), shown if shown.itemsize == 1 else shown >> 8)


def test_dicom_without_pydicom_says_how_to_install_it(tmp_path, pixels, monkeypatch):
    save_dicom(tmp_path / "a.dcm", pixels, "RGB")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(PictureError, match=r"pip install \"fusion_ln\[dicom\]\""):
        read_picture(tmp_path / "a.dcm")


# --- grey levels -----------------------------------------------------------------------------------------------------

WINDOWS = {
    "none": {},
    "empty": {"WindowCenter": None, "WindowWidth": None},
    "zero": {"WindowCenter": 0, "WindowWidth": 0},
    "narrow": {"WindowCenter": 90, "WindowWidth": 40},
    "two": {"WindowCenter": [90, 20], "WindowWidth": [40, 5]},
    "sigmoid": {"WindowCenter": 90, "WindowWidth": 40, "VOILUTFunction": "SIGMOID"},
    "exact": {"WindowCenter": 90, "WindowWidth": 40, "VOILUTFunction": "LINEAR_EXACT"},
}
SLOPES = {
    "none": {},
    "empty": {"RescaleSlope": None, "RescaleIntercept": None},
    "half": {"RescaleSlope": 0.5, "RescaleIntercept": 10},
    "tiny": {"RescaleSlope": 0.001, "RescaleIntercept": 0},
    "inverted": {"RescaleSlope": -1, "RescaleIntercept": 255},
}


def shown_by_pydicom(stored, header):
    """Grey levels 0..255 by pydicom's tables; a window of width 0 and empty elements are no window."""
    for name in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"):
        if name in header and header[name].is_empty:
            del header[name]
    if not np.all(np.asarray(header.get("WindowWidth", 0), float) > 0):
        for name in ("WindowCenter", "WindowWidth"):
            header.pop(name, None)
    values = apply_modality_lut(stored, header)
    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    bits = header.BitsStored
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if header.PixelRepresentation else (0, 2**bits - 1)
    low, high = sorted((low * slope + intercept, high * slope + intercept))
    if "WindowWidth" in header:
        values = apply_voi_lut(values, header)
        if slope < 0:  # pydicom turns the output round with the slope, PS3.3 does not
            values = low + high - values
    elif bits > 8:
        low, high = values.min(), values.max()
    grey = (values - low) / (high - low) * 255
    return 255 - grey if header.PhotometricInterpretation == "MONOCHROME1" else grey


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16, -12])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("slope", SLOPES)
def test_grey_levels_agree_with_pydicom(tmp_path, photometric, bits, window, slope):
    """A negative number of bits: signed."""
    low, high = (0, 2**bits - 1) if bits > 0 else (-(2 ** (-bits - 1)), 2 ** (-bits - 1) - 1)
    kind = np.uint8 if bits == 8 else np.uint16 if bits > 0 else np.int16
    stored = np.linspace(low, min(high, 200), 400).round().astype(kind).reshape(20, 20)
    tags = {**WINDOWS[window], **SLOPES[slope], "BitsStored": abs(bits)}
    save_dicom(tmp_path / "a.dcm", stored, photometric, **tags)
    expected = shown_by_pydicom(stored, make_dicom(stored, photometric, **tags))
    np.testing.assert_allclose(read_picture(tmp_path / "a.dcm")[..., 0], expected, atol=0.51)


def test_a_voi_table_is_applied_over_its_whole_output_range(tmp_path):
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 12], (np.arange(256) ** 2 // 16).astype("<u2").tobytes()
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    header = make_dicom(stored, "MONOCHROME2")
    table.add_new(0x00283006, "OW", table.LUTData)
    header.VOILUTSequence = [table]
    header.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    expected = np.arange(256).reshape(16, 16) ** 2 // 16 / 4095 * 255
    np.testing.assert_allclose(read_picture(tmp_path / "a.dcm")[..., 0], expected, atol=0.51)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("element", ["VOILUTSequence", "ModalityLUTSequence"])
def test_a_table_called_16_bit_is_read_by_the_values_of_its_entries(tmp_path, bits, element):
    """Entries of 8 bits gave at most 1 of 255, and of 12 bits 16."""
    table = pydicom.Dataset()
    entries = np.linspace(0, 2**bits - 1, 256).astype("<u2")
    table.LUTDescriptor = [256, 0, 16]
    table.add_new(0x00283006, "OW", entries.tobytes())
    save_dicom(tmp_path / "a.dcm", np.arange(256, dtype=np.uint8).reshape(16, 16), "MONOCHROME2", **{element: [table]})
    np.testing.assert_allclose(read_picture(tmp_path / "a.dcm")[..., 0].ravel(), np.arange(256), atol=1)


@pytest.mark.parametrize(
    "padding", [{"PixelPaddingValue": -2000}, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1900}]
)
def test_padding_does_not_widen_the_range_of_a_picture_without_a_window(tmp_path, padding):
    stored = np.linspace(100, 300, 400).astype(np.int16).reshape(20, 20)
    save_dicom(tmp_path / "a.dcm", stored, "MONOCHROME2", BitsStored=12, RescaleSlope=2, RescaleIntercept=-5)
    expected = read_picture(tmp_path / "a.dcm")
    padded = stored.copy()
    padded[0] = padding["PixelPaddingValue"]
    padded[1] = padding.get("PixelPaddingRangeLimit", padded[1])
    padded[2, 0] = 100
    save_dicom(tmp_path / "a.dcm", padded, "MONOCHROME2", BitsStored=12, RescaleSlope=2, RescaleIntercept=-5, **padding)
    read = read_picture(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read[3:], expected[3:])
    assert not read[0].any()
    save_dicom(tmp_path / "a.dcm", np.full((20, 20), -2000, np.int16), "MONOCHROME2", BitsStored=12, **padding)
    assert not read_picture(tmp_path / "a.dcm").any()


def test_colour_of_fewer_than_eight_bits_is_scaled_up(tmp_path):
    stored = np.linspace(0, 63, 1200).astype(np.uint8).reshape(20, 20, 3)
    save_dicom(tmp_path / "a.dcm", stored, "RGB", BitsStored=6)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.dcm"), np.rint(stored * (255 / 63)))


@pytest.mark.parametrize(
    ("photometric", "named"),
    [
        *((each, each) for each in ("YBR_PARTIAL_420", "YBR_RCT", "YBR_ICT", "HSV")),
        ("", "no PhotometricInterpretation"),
        ("DOE^JANE", "an unknown PhotometricInterpretation"),  # a header's text may be about the patient
    ],
)
def test_colours_of_another_space_are_refused_by_name(tmp_path, pixels, photometric, named):
    save_dicom(tmp_path / "a.dcm", pixels, photometric)
    with pytest.raises(PictureError, match=named):
        read_picture(tmp_path / "a.dcm")


def test_colour_is_scaled_by_the_bits_that_are_stored(tmp_path):
    deep = np.linspace(0, 4095, 1200).astype(np.uint16).reshape(20, 20, 3)
    save_dicom(tmp_path / "a.dcm", deep, "RGB", BitsStored=12)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.dcm"), deep >> 4)


@pytest.mark.parametrize("wide", [False, True])
def test_a_palette_is_read_by_the_values_of_its_entries(tmp_path, wide):
    """Entries of 8 bits stand in 16-bit words of some files, and are called 16-bit there."""
    entries = np.arange(256, dtype="<u2") * (257 if wide else 1)
    tables = {f"{name}PaletteColorLookupTableData": entries.tobytes() for name in ("Red", "Green", "Blue")}
    descriptors = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in ("Red", "Green", "Blue")}
    stored = np.arange(400).astype(np.uint8).reshape(20, 20)
    save_dicom(tmp_path / "a.dcm", stored, "PALETTE COLOR", **descriptors, **tables)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.dcm"), stored[..., None].repeat(3, 2))


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422", "YBR_FULL"])
def test_a_jpeg_has_the_colours_that_its_stream_says(tmp_path, photometric):
    colours = np.zeros((32, 32, 3), np.uint8)
    colours[:16, :, 0], colours[16:, :, 1] = 200, 180
    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, "JPEG", quality=95, subsampling=0)
    save_compressed(tmp_path / "a.dcm", colours, photometric, JPEG, [stream.getvalue()])
    assert np.abs(read_picture(tmp_path / "a.dcm").astype(int) - colours)[2:-2].mean() < 3


def test_run_length_encoded_frames_are_read(tmp_path, pixels):
    header = make_dicom(np.stack([pixels, 255 - pixels]), "RGB")
    header.compress(RLE)
    header.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.dcm", frame=1), 255 - pixels)


# --- colours and transfer syntaxes -----------------------------------------------------------------------------------

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", DEFLATED)  # implicit, explicit, big endian
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
LOSSLESS = (*NATIVE, RLE, JPEG_LS, JPEG_2000_LOSSLESS)


def save_as(path, header, syntax):
    """Write in a syntax, with one of pydicom's encoders where it compresses."""
    if syntax in NATIVE:
        header.file_meta.TransferSyntaxUID = syntax
        if syntax == NATIVE[2] and header.BitsAllocated == 16:
            header.PixelData = np.frombuffer(header.PixelData, "<u2").astype(">u2").tobytes()
        header["PixelData"].VR = "OW" if header.BitsAllocated == 16 else "OB"
        header.save_as(path, enforce_file_format=True)
        return
    if syntax == JPEG_LS:
        pytest.importorskip("jpeg_ls")
    header.compress(syntax, encoding_plugin="pydicom" if syntax == RLE else "")
    header.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("bits", [8, 12, -12, 16])
def test_every_syntax_gives_the_same_grey_levels(tmp_path, syntax, bits):
    """With a slope and a window over which they differ; a negative number of bits: signed."""
    low, high = (0, 2**bits) if bits > 0 else (-(2 ** (-bits - 1)), 2 ** (-bits - 1))
    kind = np.uint8 if bits == 8 else np.uint16 if bits > 0 else np.int16
    stored = np.random.default_rng(1).integers(low, high, (64, 66)).astype(kind)  # JPEG 2000 halves it five times
    tags = {"BitsStored": abs(bits), "RescaleSlope": 2, "RescaleIntercept": -7, "WindowCenter": 90, "WindowWidth": 400}
    save_as(tmp_path / "a.dcm", make_dicom(stored, "MONOCHROME2", **tags), syntax)
    expected = shown_by_pydicom(stored, make_dicom(stored, "MONOCHROME2", **tags))
    np.testing.assert_allclose(read_picture(tmp_path / "a.dcm")[..., 0], expected, atol=0.51)


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colours_agree_with_pydicom_in_every_syntax(tmp_path, syntax, planar, photometric):
    pixels = np.random.default_rng(3).integers(0, 256, (64, 66, 3), dtype=np.uint8)
    header = make_dicom(pixels, photometric)
    if planar and syntax in NATIVE:
        header.PlanarConfiguration, header.PixelData = 1, pixels.transpose(2, 0, 1).tobytes()
    save_as(tmp_path / "a.dcm", header, syntax)
    expected = pixels if photometric == "RGB" else convert_color_space(pixels, photometric, "RGB")
    np.testing.assert_allclose(read_picture(tmp_path / "a.dcm"), expected, atol=1)


def test_colours_that_share_their_chroma_are_read(tmp_path, pixels):
    """YBR_FULL_422: two values of Y, then one of each chroma (PS3.3 C.7.6.3.1.2)."""
    full = pixels.copy()
    full[:, 1::2, 1:] = full[:, ::2, 1:]
    packed = np.stack([full[:, ::2, 0], full[:, 1::2, 0], full[:, ::2, 1], full[:, ::2, 2]], axis=-1)
    header = make_dicom(pixels, "YBR_FULL_422")
    header.PixelData = packed.tobytes()
    header.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    expected = convert_color_space(full, "YBR_FULL", "RGB")
    np.testing.assert_allclose(read_picture(tmp_path / "a.dcm"), expected, atol=1)


@pytest.mark.parametrize(("photometric", "irreversible"), [("YBR_RCT", False), ("YBR_ICT", True)])
def test_the_colours_of_jpeg_2000_agree_with_pillow(tmp_path, photometric, irreversible):
    colours = np.zeros((32, 32, 3), np.uint8)
    colours[:16, :, 0], colours[16:, :, 1], colours[:, 16:, 2] = 200, 180, 90
    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, "JPEG2000", irreversible=irreversible, mct=1, no_jp2=True)
    save_compressed(tmp_path / "a.dcm", colours, photometric, JPEG_2000, [stream.getvalue()])
    expected = np.asarray(Image.open(stream))
    np.testing.assert_allclose(read_picture(tmp_path / "a.dcm"), expected, atol=1 if irreversible else 0)


@pytest.mark.parametrize("syntax", [*NATIVE, RLE])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("entries", [8, 16])
def test_palettes_agree_with_pydicom(tmp_path, syntax, bits, entries):
    """The first entry stands for value 20; what lies below has its colour, and what lies above the last one's."""
    stored = np.arange(600).reshape(20, 30).astype(np.uint8 if bits == 8 else np.uint16)
    tables = np.random.default_rng(2).integers(0, 2**entries, (3, 200)).astype(f"<u{entries // 8}")
    header = make_dicom(stored, "PALETTE COLOR")
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        setattr(header, f"{name}PaletteColorLookupTableDescriptor", [200, 20, entries])
        setattr(header, f"{name}PaletteColorLookupTableData", table.tobytes())
    expected = apply_color_lut(stored, header) >> (entries - 8)
    save_as(tmp_path / "a.dcm", header, syntax)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.dcm"), expected)


@pytest.mark.parametrize("entries", [8, 16])
def test_a_segmented_palette_agrees_with_pydicom(tmp_path, entries):
    """Discrete segments, and between them a linear one up to white (PS3.3 C.7.9.2)."""
    top = 2**entries - 1
    segments = np.array([0, 4, 9, 3, 8, top // 3, 1, 188, top, 0, 4, 7, 6, 5, 9], f"<u{entries // 8}")
    stored = np.arange(600).reshape(20, 30).astype(np.uint8)
    header = make_dicom(stored, "PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(header, f"{name}PaletteColorLookupTableDescriptor", [196, 0, entries])
        setattr(header, f"Segmented{name}PaletteColorLookupTableData", segments.tobytes())
    expected = apply_color_lut(stored, header) >> (entries - 8)
    header.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.dcm"), expected)


# --- unusual files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("implicit", [False, True])
def test_a_file_without_preamble_and_meta_is_read_by_its_bytes(tmp_path, pixels, implicit):
    header = make_dicom(pixels[..., 0], "MONOCHROME2")
    del header.file_meta
    with (tmp_path / "a.dcm").open("wb") as file:
        pydicom.dcmwrite(file, header, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.dcm")[..., 0], pixels[..., 0])


def test_the_deflated_syntax_is_read(tmp_path, pixels):
    header = make_dicom(pixels, "RGB")
    header.file_meta.TransferSyntaxUID = DEFLATED
    header.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.dcm"), pixels)


def test_burned_in_text_is_reported(tmp_path, pixels):
    for answer, expected in (("YES", True), ("NO", False), (None, False)):
        save_dicom(tmp_path / "a.dcm", pixels, "RGB", BurnedInAnnotation=answer)
        assert open_dicom(tmp_path / "a.dcm").burned_in_text is expected


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_video_is_named(tmp_path, pixels):
    save_compressed(tmp_path / "a.dcm", pixels, "RGB", MPEG4, [bytes(50)])
    with pytest.raises(PictureError, match="a video"):
        read_picture(tmp_path / "a.dcm")


def test_samples_that_do_not_fit_the_colour_space_are_refused(tmp_path, pixels):
    save_dicom(tmp_path / "a.dcm", pixels, "RGB")
    header = pydicom.dcmread(tmp_path / "a.dcm")
    header.PhotometricInterpretation = "MONOCHROME2"
    header.save_as(tmp_path / "a.dcm")
    with pytest.raises(PictureError, match="MONOCHROME2 with 3 samples a pixel"):
        read_picture(tmp_path / "a.dcm")


def end_of_meta(content):
    """Bytes up to the data set: preamble, DICM and the group whose length stands in its first element."""
    return 144 + int.from_bytes(content[140:144], "little")


def deflated(body):
    """A file in the deflated syntax whose data set is ``body``."""
    header = make_dicom(np.zeros((20, 20), np.uint8), "MONOCHROME2")
    header.file_meta.TransferSyntaxUID = DEFLATED
    file = io.BytesIO()
    header.save_as(file, enforce_file_format=True)
    start = file.getvalue()[: end_of_meta(file.getvalue())]
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return start + packer.compress(body) + packer.flush()


def test_a_deflate_bomb_is_cut_off_at_its_bound(tmp_path):
    (tmp_path / "a.dcm").write_bytes(deflated(bytes(MAX_INFLATED + 2**20)))
    with pytest.raises(PictureError, match="inflates to more than 96 MiB"):
        read_picture(tmp_path / "a.dcm")


def uncompressed(body):
    """A file whose data set is ``body``, explicit and little endian."""
    return deflated(b"")[:-2].replace(DEFLATED.encode(), b"1.2.840.10008.1.2.1\0\0\0") + body


@pytest.mark.parametrize("packed", [False, True])
def test_a_million_tiny_elements_are_cut_off(tmp_path, packed):
    body = b"".join(b"\x09\x00" + n.to_bytes(2, "little") + b"LO\x00\x00" for n in range(0x1000, 0x5000)) * 60
    (tmp_path / "a.dcm").write_bytes(deflated(body) if packed else uncompressed(body))
    with pytest.raises(PictureError, match="cut into more pieces"):
        read_picture(tmp_path / "a.dcm")


def test_an_element_larger_than_any_picture_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "MAX_BYTES", 2**20)
    (tmp_path / "a.dcm").write_bytes(
        uncompressed(b"\x09\x00\x01\x10OB\0\0" + (2**21).to_bytes(4, "little") + bytes(2**21))
    )
    with pytest.raises(PictureError, match="more than 1 MiB would have to be read"):
        read_picture(tmp_path / "a.dcm")


@pytest.mark.parametrize("syntax", [JPEG, RLE, JPEG_2000])
def test_encapsulated_fragments_are_read_within_bounds(tmp_path, pixels, syntax, monkeypatch):
    """Countless fragments, and one that is longer than the file."""
    monkeypatch.setattr(dicom, "MAX_DICOM_READS", 500)
    save_compressed(tmp_path / "a.dcm", pixels, "RGB", syntax, [b"\xff\xd8"] * 2)
    whole = (tmp_path / "a.dcm").read_bytes()
    start = whole.index(b"\xe0\x7f\x10\x00OB") + 12
    many, long = b"\xfe\xff\x00\xe0\0\0\0\0" * 1000, b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\xf0\xff\xff\xff"
    for fragments, problem in ((many, "cut into more pieces"), (long, "truncated or damaged")):
        (tmp_path / "a.dcm").write_bytes(whole[:start] + fragments + bytes(100))
        with pytest.raises(PictureError, match=problem):
            read_picture(tmp_path / "a.dcm")


def test_a_stream_of_another_size_is_refused_before_a_decoder_obeys_it(tmp_path, pixels):
    """A JPEG 2000 of 512 x 16,712,192 samples held a decoder for 80 s."""
    for syntax, kind in ((JPEG, "JPEG"), (JPEG_2000, "JPEG2000")):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind, **({"no_jp2": True} if kind == "JPEG2000" else {}))
        bomb = bytearray(stream.getvalue())
        at = bomb.index(b"\xff\x51") + 10 if kind == "JPEG2000" else bomb.index(b"\xff\xc0") + 5
        assert stream_size(bytes(bomb)) == (30, 20)
        bomb[at] = 255
        save_compressed(tmp_path / "a.dcm", pixels, "RGB", syntax, [bytes(bomb)])
        with pytest.raises(PictureError, match="of another size than its header's 30 x 20"):
            read_picture(tmp_path / "a.dcm")


@pytest.mark.parametrize("photometric", ["RGB", "MONOCHROME2"])
def test_a_jpeg_of_countless_scans_is_refused(tmp_path, pixels, photometric):
    shown = pixels if photometric == "RGB" else pixels[..., 0]
    stream = io.BytesIO()
    Image.fromarray(shown).save(stream, "JPEG", progressive=True)
    whole = stream.getvalue()
    last = whole[whole.rindex(b"\xff\xda") : -2]
    save_compressed(tmp_path / "a.dcm", shown, photometric, JPEG, [whole])
    read_picture(tmp_path / "a.dcm")
    save_compressed(tmp_path / "a.dcm", shown, photometric, JPEG, [whole[:-2] + last * 100 + whole[-2:]])
    with pytest.raises(PictureError, match="more than 100 scans"):
        read_picture(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("syntax", "package"),
    [
        (JPEG_LOSSLESS, "python-gdcm"),
        (JPEG_LS, "fusion_ln[dicom]"),
        (JPEG_2000, "fusion_ln[dicom]"),
        ("1.2.840.10008.1.2.4.94", "PNG"),
    ],
)
def test_a_missing_decoder_is_named_with_its_package(tmp_path, pixels, syntax, package, monkeypatch):
    for name in ("JPEGLosslessSV1", "JPEGLSLossless", "JPEG2000"):
        monkeypatch.setattr(getattr(pydicom.pixels.decoders, f"{name}Decoder"), "_available", {})
    save_compressed(tmp_path / "a.dcm", pixels, "RGB", syntax, [b"\xff\xd8" + bytes(50)])
    with pytest.raises(PictureError, match="no decoder for") as caught:
        read_picture(tmp_path / "a.dcm")
    assert package in caught.value.way_out


def test_text_in_the_place_of_a_syntax_is_not_repeated(tmp_path, pixels):
    save_compressed(tmp_path / "a.dcm", pixels, "RGB", "1.2.840.10008.1.2.4.94", [bytes(50)])
    content = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(content.replace(b"1.2.840.10008.1.2.4.94", b"DOE^JANE^19560403^F^^^"))
    with pytest.raises(PictureError) as caught:
        read_picture(tmp_path / "a.dcm")
    assert "DOE" not in f"{caught.value.problem} {caught.value.way_out}"


@pytest.mark.parametrize("name", ["NumberOfFrames", "SamplesPerPixel", "BitsStored", "Rows", "WindowWidth"])
def test_a_header_value_that_is_none_is_one_message(tmp_path, pixels, name):
    save_dicom(tmp_path / "a.dcm", pixels[..., 0], "MONOCHROME2", NumberOfFrames=1, WindowWidth=9, WindowCenter=9)
    whole = (tmp_path / "a.dcm").read_bytes()
    tag = pydicom.datadict.tag_for_keyword(name)
    at = whole.index(tag.to_bytes(4, "big")[1::-1] + tag.to_bytes(4, "big")[:1:-1]) + 4
    (tmp_path / "a.dcm").write_bytes(whole[:at] + b"LO\2\0x " + whole[at + 6 :][2 + whole[at + 2] :])
    with pytest.raises(PictureError):
        read_picture(tmp_path / "a.dcm")
