"""What FFmpeg says is kept; what OpenCV says about itself is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from preprocess.errors import DecodeError
from preprocess.video.ffmpeg import captured_stderr, first_complaint
from preprocess.video.video_file import captured_messages, open_container

WARNING = "[ WARN:0@1.121] global cap.cpp:212 open backend can't be used to capture by name"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ""),
        (["[mov,mp4 @ 0x5598] moov atom not found"], "moov atom not found"),
        ([WARNING, "[av1 @ 0x55] Failed to get pixel format."], "Failed to get pixel format."),
        ([WARNING], ""),
        (["no brackets", "[h264 @ 0x1] first", "[h264 @ 0x1] second"], "first"),
    ],
)
def test_first_complaint(lines: list[str], expected: str) -> None:
    with captured_stderr() as messages:
        for line in lines:
            os.write(2, f"{line}\n".encode())
        assert first_complaint(messages) == expected


def test_afterwards_standard_error_is_as_before(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_stderr():
        os.write(2, b"inside\n")
    os.write(2, b"outside\n")
    assert capfd.readouterr().err == "outside\n"


def test_ffmpegs_own_words_are_heard_where_they_are_captured_and_nowhere_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Red when a message of a decoder is lost, or disturbs the progress bar of a command."""
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(12) + b"\0\0\0\x10free" + bytes(8))
    heard = []
    for _ in range(2):
        with captured_messages() as messages, pytest.raises(DecodeError):
            open_container(broken)
        with pytest.raises(DecodeError):
            open_container(broken)
        with captured_messages() as messages:
            with pytest.raises(DecodeError):
                open_container(broken)
            heard.append(first_complaint(messages))
    assert heard == ["moov atom not found"] * 2
    assert capfd.readouterr().err == ""
