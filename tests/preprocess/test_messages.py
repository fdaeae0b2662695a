"""What FFmpeg says is kept; what OpenCV says about itself is not."""

from __future__ import annotations

import os

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
