"""Mutations of the bytes of a file, all drawn from a seeded generator."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.fuzzing.containers import absurd_field

Mutation = Callable[[Random, bytes, bytes], bytes]
"""Function of a generator, the bytes of a file, and those of another one, the donor."""

HEADER_BYTES = 512


def few_flips(random: Random, content: bytes, donor: bytes) -> bytes:
    """Flip one to eight bits anywhere."""
    return _flipped(random, content, random.randint(1, 8), len(content))


def many_flips(random: Random, content: bytes, donor: bytes) -> bytes:
    """Flip about one bit in every hundred bytes, at most a thousand."""
    return _flipped(random, content, min(len(content) // 100 + 1, 1000), len(content))


def header_flips(random: Random, content: bytes, donor: bytes) -> bytes:
    """Flip one to sixteen bits among the first bytes."""
    return _flipped(random, content, random.randint(1, 16), HEADER_BYTES)


def truncated(random: Random, content: bytes, donor: bytes) -> bytes:
    """Cut the file off anywhere."""
    return content[: random.randrange(len(content) + 1)]


def truncated_in_header(random: Random, content: bytes, donor: bytes) -> bytes:
    """Cut the file off among the first bytes; about one in sixteen is empty."""
    return content[: max(0, random.randrange(-HEADER_BYTES // 16, HEADER_BYTES))]


def spliced(random: Random, content: bytes, donor: bytes) -> bytes:
    """Join the beginning of one file and the rest of another."""
    cut = random.choice([HEADER_BYTES, 4096, random.randrange(len(content) + 1)])
    return content[:cut] + donor[cut:]


def block_deleted(random: Random, content: bytes, donor: bytes) -> bytes:
    """Delete some bytes."""
    start, stop = _block(random, content)
    return content[:start] + content[stop:]


def block_repeated(random: Random, content: bytes, donor: bytes) -> bytes:
    """Repeat some bytes."""
    start, stop = _block(random, content)
    return content[:stop] + content[start:stop] * random.randint(1, 4) + content[stop:]


def block_zeroed(random: Random, content: bytes, donor: bytes) -> bytes:
    """Set some bytes to 0 or to 255."""
    start, stop = _block(random, content)
    fill = random.choice([b"\x00", b"\xff"])
    return content[:start] + fill * (stop - start) + content[stop:]


def block_noise(random: Random, content: bytes, donor: bytes) -> bytes:
    """Replace some bytes by noise."""
    start, stop = _block(random, content)
    return content[:start] + random.randbytes(stop - start) + content[stop:]


def absurd_numbers(random: Random, content: bytes, donor: bytes) -> bytes:
    """Write impossible numbers where a video's container keeps sizes and counts."""
    for _ in range(random.randint(1, 3)):
        content = absurd_field(random, content)
    return content


OF_BYTES: tuple[Mutation, ...] = (
    *(few_flips, many_flips, header_flips, truncated, truncated_in_header),
    *(spliced, block_deleted, block_repeated, block_zeroed, block_noise),
)
OF_VIDEOS: tuple[Mutation, ...] = (*OF_BYTES, *[absurd_numbers] * 5)
"""Mutations of videos. Absurd numbers are frequent, because they get past a file's header."""


def _flipped(random: Random, content: bytes, number: int, among: int) -> bytes:
    """Flip `number` bits, each in one of the first `among` bytes."""
    flipped = bytearray(content)
    for _ in range(number if content else 0):
        flipped[random.randrange(min(among, len(flipped)))] ^= 1 << random.randrange(8)
    return bytes(flipped)


def _block(random: Random, content: bytes) -> tuple[int, int]:
    """Start and stop of a block of up to a quarter of the file."""
    start = random.randrange(len(content) + 1)
    longest = random.choice([16, 1024, len(content) // 4 + 1])
    return start, min(start + random.randint(1, longest), len(content))
