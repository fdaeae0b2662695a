"""Damaged files through all readers, more in the slow tests; `make fuzz` tries thousands."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.fuzzing import reader_targets, readers
from tests.fuzzing.campaign import FindingsWriter, try_reader
from tests.fuzzing.readers import Damage, Reader, Verdict, attempt, damage, undisturbed
from tests.fuzzing.readers_of_models import MODELS

TRIES = {**{reader.name: 5 for reader in MODELS}, "clip model": 3}  # those that take long
USUAL_TRIES = 40
QUICK_TRIES = 12


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "max_tries", [QUICK_TRIES, pytest.param(USUAL_TRIES, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("reader", reader_targets.READERS, ids=lambda reader: reader.name)
def test_a_damaged_file_is_read_or_refused(reader: Reader, max_tries: int) -> None:
    """Red when it gives an error of Python's own, or what cannot be."""
    files, expected = undisturbed(reader)
    usual = 12 if "shards" in reader.name else USUAL_TRIES
    tries = range(min(TRIES.get(reader.name, usual), max_tries))
    verdicts = [attempt(reader, files, damage(files, seed), expected) for seed in tries]
    assert [one for one in verdicts if one.finding] == []
    assert any(one.answer != readers.SAME for one in verdicts)


def verdict(read: object, **options: object) -> Verdict:
    """Of a file of "1" that is "2" now."""
    reader = Reader("x", lambda folder: None, read, (KeyError,), **options)  # type: ignore[arg-type]
    done = Damage(5, "x.npz", "few_flips", b"2", is_blind=True)
    expected = readers.fingerprint(b"1", Path("/nowhere"))
    return attempt(reader, {"x.npz": b"1", "y": b"1"}, done, expected)


def test_verdicts() -> None:
    """Red when a wrong number, a foreign error or an unclear message passes."""

    def refuse(error: Exception) -> object:
        def read(folder: Path) -> object:
            raise error

        return read

    assert verdict(lambda folder: (folder / "y").read_bytes()) == Verdict(5, readers.SAME)
    other = verdict(lambda folder: (folder / "x.npz").read_bytes())
    assert other == Verdict(5, readers.OTHER)
    silent = verdict(lambda folder: (folder / "x.npz").read_bytes(), checksummed=True)
    assert "without a word" in silent.finding
    assert verdict(lambda folder: b"3", wrong=lambda value: f"not {value}").finding == "not b'3'"
    assert verdict(refuse(KeyError("x.npz is damaged"))) == Verdict(5, readers.REFUSED)
    for error, finding in [
        (KeyError("it is damaged"), "does not name the file"),
        (KeyError("x.npz " + "y" * 3000), "characters"),
        (ValueError("x.npz is damaged"), "ValueError of Python's own"),
    ]:
        assert finding in verdict(refuse(error)).finding


def test_a_reader_that_ends_its_process_costs_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when the files after it are not tried, or it is not told of."""
    output: list[str] = []
    monkeypatch.setenv("FUZZED_TO_DEATH", "3")
    monkeypatch.setattr("tests.fuzzing.campaign._READER_MODULE", __name__)
    tally = try_reader(reader_targets.READERS[0], 0, 6, FindingsWriter(tmp_path, output.append))
    assert (tally.files, tally.findings) == (6, 1)
    assert tally.read + tally.named == 5
    assert "ended the process with code -9" in output[0]
    assert len(list(tmp_path.iterdir())) == 2


if __name__ == "__main__":  # the child of the last test
    import sys

    def dying(*arguments: object) -> Verdict:
        done = arguments[2]
        assert isinstance(done, Damage)
        if done.seed == int(os.environ["FUZZED_TO_DEATH"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return attempt(*arguments)  # type: ignore[arg-type]

    readers.attempt = dying
    readers.main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
