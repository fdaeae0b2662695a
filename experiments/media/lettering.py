"""Text drawn into images: any characters, fitted into a given width."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from matplotlib import get_data_path
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font
from PIL import ImageFont

_ELLIPSIS = "…"
# A text is made smaller down to this fraction of its size and to this many pixels, then cut.
_SMALLEST_SHARE, _SMALLEST_PIXELS = 0.7, 9
_NO_LETTERS = "Last Resort"  # a font of boxes for all there is


def fitted(text: str, size: int, width: float) -> tuple[str, Any]:
    """Fit a text into one line of a given width, and choose the font to draw it with.

    A text that is too wide is made smaller, and then shortened. Characters that no installed font
    has are replaced by their codes.

    Args:
        text: any text.
        size: size of the letters, in pixels.
        width: width that the text must fit into, in pixels.

    Returns:
        The text as it is to be drawn, and a Pillow font.
    """
    text = " ".join(text.split())
    file = _font_file("".join(sorted({letter for letter in text if not letter.isspace()})))
    known = _letters(file)
    text = "".join(letter if ord(letter) in known else _code(letter) for letter in text)
    smallest = max(round(_SMALLEST_SHARE * size), min(size, _SMALLEST_PIXELS))
    for pixels in range(size, smallest - 1, -1):
        font = _font(file, pixels)
        if font.getlength(text) <= width:
            return text, font
    shorter = len(text)
    while shorter and font.getlength(text[:shorter] + _ELLIPSIS) > width:
        shorter -= 1
    return text[:shorter].rstrip() + _ELLIPSIS if shorter else "", font


@lru_cache(maxsize=256)
def _font_file(letters: str) -> str:
    """Path of Matplotlib's own sans-serif, or of an installed font that has all letters."""
    usual = f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    if _has_all(usual, letters):
        return usual
    installed = [font for font in fontManager.ttflist if not font.name.startswith(_NO_LETTERS)]
    # Sorted, so that the same machine draws the same picture each time.
    others = sorted({font.fname for font in installed if font.style == "normal"})
    return next((file for file in others if _has_all(file, letters)), usual)


def _has_all(file: str, letters: str) -> bool:
    return _letters(file).issuperset(map(ord, letters))


@lru_cache(maxsize=256)
def _letters(file: str) -> frozenset[int]:
    """Code points for which a font has a glyph."""
    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # no longer there, or none that can be read
        return frozenset()


@lru_cache(maxsize=64)
def _font(file: str, size: int) -> Any:
    return ImageFont.truetype(file, size)


def _code(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode()
