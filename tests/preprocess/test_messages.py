"""What FFmpeg says is kept; what OpenCV says about itself is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from preprocess.messages import captured_stderr, first_complaint

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


def test_nothing_is_captured_from_silent_decoders_and_the_environment_is_as_before(
    tmp_path: Path,
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    assert _complaint_of_a_new_process("silent_decoders", tmp_path) == ["", "kept"]


def test_ffmpeg_is_heard_though_the_environment_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    assert _complaint_of_a_new_process("nullcontext", tmp_path) == ["moov atom not found", "kept"]


def _complaint_of_a_new_process(around: str, folder: Path) -> list[str]:
    """What is captured; OpenCV asks for the level of its messages once in a process."""
    code = f"""
import cv2, os
from contextlib import nullcontext
from preprocess.messages import captured_stderr, first_complaint, silent_decoders
with {around}():
    if {around} is silent_decoders:
        cv2.VideoCapture("broken.mp4", cv2.CAP_FFMPEG)
with captured_stderr() as messages:
    cv2.VideoCapture("broken.mp4", cv2.CAP_FFMPEG)
    print(first_complaint(messages))
print("kept" if os.environ["OPENCV_FFMPEG_LOGLEVEL"] == "-8" else "changed")
"""
    silent = {**os.environ, "OPENCV_FFMPEG_LOGLEVEL": "-8"}
    words = [sys.executable, "-c", code]
    return subprocess.check_output(words, text=True, cwd=folder, env=silent).splitlines()
