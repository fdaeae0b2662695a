"""Pictures converted to planes against the same pictures converted to packed pixels."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from preprocess.video.decode import VideoReader
from preprocess.video.transforms import FrameFit, StackedFits
from preprocess.video.video_decoder import VideoDecoder

FITS = (
    FrameFit((160, 120)),
    FrameFit((40, 40), crop="aspect", margin=(2, 3, 3, 2)),
    FrameFit((30, 20), box=(0.1, 0.2, 0.71, 0.9)),
)


def noise(path: Path, width: int, *, pixel_format: str = "yuv420p", height: int = 50) -> Path:
    """Write three frames of noise, so that every value of a pixel occurs."""
    rng = np.random.default_rng(width)
    with av.open(path, "w") as container:
        stream = container.add_stream("mjpeg" if pixel_format == "yuvj420p" else "ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        for _ in range(3):
            frame = av.VideoFrame(width, height, pixel_format)
            for plane in frame.planes:
                plane.update(rng.integers(0, 256, plane.buffer_size, np.uint8).tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p"])
@pytest.mark.parametrize("width", [16, 48, 320, 336, 640, 656])
def test_planes_hold_the_packed_values(tmp_path: Path, width: int, pixel_format: str) -> None:
    """Red when FFmpeg converts a row's end, a range or a colour otherwise to planes."""
    path = noise(tmp_path / "x.mkv", width, pixel_format=pixel_format)
    decoder = VideoDecoder(path)
    while decoder.grab():
        planes = decoder.retrieve_planes()
        assert planes is not None
        red, green, blue = (plane.copy() for plane in planes)
        np.testing.assert_array_equal(np.dstack([blue, green, red]), decoder.retrieve())
    decoder.close()


@pytest.mark.parametrize(
    ("width", "pixel_format"),
    [(340, "yuv420p"), (320, "yuv422p"), (320, "gray"), (320, "yuv420p10le")],
)
def test_other_pictures_have_no_planes(tmp_path: Path, width: int, pixel_format: str) -> None:
    """Red when widths are let through whose last columns FFmpeg rounds otherwise."""
    decoder = VideoDecoder(noise(tmp_path / "x.mkv", width, pixel_format=pixel_format))
    assert decoder.grab()
    assert decoder.retrieve_planes() is None
    decoder.close()


@pytest.mark.parametrize("fit", [*FITS, StackedFits((FrameFit((30, 20)), FrameFit((30, 10))))])
def test_a_fit_gives_the_same_frames_of_planes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: FrameFit | StackedFits
) -> None:
    """Red when planes are cut or scaled otherwise, or merged in another order."""
    path, frames = noise(tmp_path / "x.mkv", 320), []
    shape = (30, 30, 3) if isinstance(fit, StackedFits) else fit.frame_shape
    for by_planes in (True, False):
        if not by_planes:
            monkeypatch.setattr(VideoDecoder, "retrieve_planes", lambda self: None)
        frame = np.empty(shape, np.uint8)
        with VideoReader(path, fit=fit) as video:
            assert video.read_into(frame)
        frames.append(frame)
    np.testing.assert_array_equal(*frames)


@pytest.mark.parametrize(
    "fit", [FrameFit((160, 120), interpolation="area"), FrameFit((8, 8), grey=True)]
)
def test_fits_that_need_packed_pixels_get_them(fit: FrameFit) -> None:
    """Red when a grey frame is made of planes one by one, or means are taken three times."""
    assert not fit.takes_planes
    assert not StackedFits((FrameFit((8, 8)), fit)).takes_planes
