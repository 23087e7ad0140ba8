"""Cines whose best frame is known, and the files that hold them."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter


def draw_cine(n: int, *, sharp: dict[int, float], shifted: Sequence[int] = (), flow: Sequence[int] = ()) -> np.ndarray:
    """Draw frames of tissue, uint8 (N, 64, 80, 3), all blurred by 2 pixels but the ``sharp`` ones by theirs.

    The ``shifted`` are moved across; a frame's ``flow`` is how many pixels of its corner are red.
    """
    tissue = np.random.default_rng(5).rayleigh(50, (64, 80)).clip(0, 255).astype(np.uint8)
    frames = []
    for number in range(n):
        at = np.roll(tissue, 9 if number in shifted else 0, axis=1)
        blurred = Image.fromarray(at).filter(ImageFilter.GaussianBlur(sharp.get(number, 2)))
        pixels = np.array(blurred.convert("RGB"))
        if flow:
            pixels[: flow[number], :8] = (255, 0, 0)
        frames.append(pixels)
    return np.stack(frames)


def write_video(path: Path, frames: np.ndarray) -> Path:
    """Write a motion JPEG of the best quality."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames.shape[1:3]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=20, width=width, height=height, pix_fmt="yuvj420p")
        stream.codec_context.options = {"qmin": "1", "qmax": "1"}
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_dicom(path: Path, frames: np.ndarray, **elements: object) -> Path:
    """Write a multi-frame ultrasound file, uncompressed."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

    path.parent.mkdir(parents=True, exist_ok=True)
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = UltrasoundMultiFrameImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid()
    header.NumberOfFrames, header.Rows, header.Columns = frames.shape[:3]
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PlanarConfiguration = 3, "RGB", 0
    header.BitsAllocated = header.BitsStored = 8
    header.HighBit, header.PixelRepresentation = 7, 0
    for name, value in elements.items():
        setattr(header, name, value)
    header.PixelData = frames.tobytes()
    header.save_as(path, enforce_file_format=True)
    return path


def write_dicom_video(path: Path, frames: np.ndarray) -> Path:
    """Write an MPEG-2 video within DICOM."""
    import av
    import pydicom
    from pydicom.encaps import encapsulate
    from pydicom.uid import MPEG2MPML

    height, width = frames.shape[1:3]
    with av.open(buffer := io.BytesIO(), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25, width=width, height=height, pix_fmt="yuv420p")
        stream.bit_rate = 20_000_000
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    header = pydicom.dcmread(write_dicom(path, frames))
    header.file_meta.TransferSyntaxUID = MPEG2MPML
    header.PhotometricInterpretation = "YBR_PARTIAL_420"
    header.PixelData = encapsulate([buffer.getvalue()])
    header["PixelData"].VR = "OB"
    header["PixelData"].is_undefined_length = True
    header.save_as(path, enforce_file_format=True)
    return path


def write_animation(path: Path, frames: np.ndarray) -> Path:
    """Write a file of several pages without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = map(Image.fromarray, frames)
    first.save(path, save_all=True, append_images=rest)
    return path


WRITERS = {".avi": write_video, ".dcm": write_dicom, ".tiff": write_animation}


def write_cines(folder: Path) -> None:
    """Write a table of six patients of two classes, each with an animation of three frames."""
    folder.mkdir()
    lines = ["patient_id,label,2d"]
    for number in range(6):
        frames = [Image.fromarray(frame) for frame in draw_cine(3, sharp={1: number / 5})]
        frames[0].save(folder / f"{number}.gif", save_all=True, append_images=frames[1:])
        lines.append(f"P{number},{'ab'[number % 2]},{number}.gif")
    (folder / "cines.csv").write_text("\n".join(lines))
