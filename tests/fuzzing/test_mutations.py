"""Damage is of the seed alone, and is possible to every content."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzzing.containers import FIELDS, absurd_field
from tests.fuzzing.corpus import Specimen, mutant, mutants
from tests.fuzzing.mutations import OF_VIDEOS, Mutation
from tests.fuzzing.readers import contents, damage, write

KINDS = list(dict.fromkeys(OF_VIDEOS))
CORPUS = [Specimen("a.mp4", bytes(range(256)) * 8), Specimen("b.avi", b"RIFF" + b"\1" * 900)]


@pytest.mark.parametrize("mutation", KINDS)
@given(content=st.binary(max_size=64), donor=st.binary(max_size=64), seed=st.integers(0, 2**32))
@settings(max_examples=40)
def test_any_content_can_be_damaged_again(
    mutation: Mutation, content: bytes, donor: bytes, seed: int
) -> None:
    """Red when one fails on a short file, or draws from anything but its generator."""
    first, second = (mutation(Random(seed), content, donor) for _ in range(2))
    assert isinstance(first, bytes)
    assert first == second


@given(seed=st.integers(0, 2**32), place=st.integers(0, 200))
def test_an_absurd_number_lies_in_its_field(seed: int, place: int) -> None:
    """Red when the file grows, or bytes outside of the field change."""
    content = b"." * place + b"avih" + b"." * 200
    changed = absurd_field(Random(seed), content)
    fields = [field for field in FIELDS if field.marker == b"avih"]
    allowed = {place + field.offset + i for field in fields for i in range(field.num_bytes)}
    assert len(changed) == len(content)
    assert {i for i in range(len(content)) if changed[i] != content[i]} <= allowed


def test_a_seed_makes_its_file_again() -> None:
    """Red when a kept seed does not repeat a finding of a long run."""
    run = mutants(CORPUS, 100)
    for seed in range(100, 120):
        assert next(run) == mutant(CORPUS, seed)
    assert len({mutant(CORPUS, seed).content for seed in range(50)}) > 40


def test_the_files_of_a_reader_are_damaged_one_at_a_time(tmp_path: Path) -> None:
    """Red when damage depends on the order of a dict, or a folder is not as it was given."""
    files = {"b.json": b'{"a": [1, 2]}', "x/a.csv": b"a,b\n1,2\n", "c.bin": b"abc" * 9}
    write(tmp_path / "one", files)
    assert contents(tmp_path / "one") == files
    for seed in range(60):
        assert damage(files, seed) == damage(dict(reversed(files.items())), seed)
    assert {damage(files, seed).file for seed in range(60)} == set(files)
