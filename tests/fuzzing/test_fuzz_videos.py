"""Some damaged videos through each command, more in the slow tests; `make fuzz` tries thousands."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from tests.fuzzing.corpus import CLIPS, Specimen, mutants, real, rendered
from tests.fuzzing.jobs import Ended, Limits
from tests.fuzzing.video_targets import TARGETS, Classification, Extraction, Highlights
from tests.fuzzing.videos import Results, VideoTarget
from tests.grids import slow
from tests.processes import PATIENCE_SECONDS


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Specimen]:
    return rendered(tmp_path_factory.mktemp("rendered"))


@pytest.fixture(scope="module")
def controls(corpus: list[Specimen]) -> list[Specimen]:
    return [one for one in corpus if one.name in ("h264.mp4", "mpeg1.mpg")]


@pytest.mark.parametrize(
    ("kind", "num_files"),
    [
        *((Extraction, 12), (Highlights, 6)),
        # It decodes as extraction does, and imports TensorFlow first.
        *slow((Classification, 6), *((kind, 24) for kind in TARGETS)),
    ],
)
def test_damaged_videos_cost_themselves_alone(
    kind: type[VideoTarget],
    num_files: int,
    corpus: list[Specimen],
    controls: list[Specimen],
    tmp_path: Path,
) -> None:
    """Red when one ends the job, is lost without a word, or changes what another gives."""
    target = kind(controls, tmp_path, Limits(PATIENCE_SECONDS, PATIENCE_SECONDS))
    tried = target.attempt(list(islice(mutants(corpus, 0), num_files)), tmp_path / "job")
    assert tried.faults == {}, tried.ended.output
    assert tried.results.read
    assert tried.results.named


def test_damaged_real_clips(controls: list[Specimen], tmp_path: Path) -> None:
    clips = real()
    if not clips:
        pytest.skip(f"no real clips in {CLIPS}")
    target = Extraction(controls, tmp_path, Limits(PATIENCE_SECONDS, PATIENCE_SECONDS))
    tried = target.attempt(list(islice(mutants(clips, 0), 16)), tmp_path / "job")
    assert tried.faults == {}, tried.ended.output


def test_what_goes_wrong_is_found(
    corpus: list[Specimen],
    controls: list[Specimen],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Red when a lost file, a changed control, a left file or a wrong exit code goes unseen."""
    target = Extraction(controls, tmp_path, Limits())
    good, changed, lost, last = "part0.mp4", "part1", "part2", "part3.mpg"
    ended = Ended(7, "", 0.0, {}, 0)  # type: ignore[arg-type]
    monkeypatch.setattr("tests.fuzzing.videos.watch", lambda *_: ended)
    read = {good: target._expected[0], last: b"other frames"}

    def results(files: Path, out: Path, output: str) -> Results:
        names = sorted(path.name for path in files.iterdir())
        return Results(read, {name: "why" for name in names if changed in name}, ["x.tmp"])

    monkeypatch.setattr(target, "results", results)
    tried = target.attempt(list(islice(mutants(corpus, 0), 2)), tmp_path / "job")
    (gone,) = [name for name in tried.faults if lost in name]
    assert "neither read nor named" in tried.faults[gone]
    assert "otherwise than alone" in tried.faults[last]
    assert "left x.tmp" in tried.faults[""]
    assert "exit code 7" in tried.faults[""]
    assert set(tried.faults) == {gone, last, ""}
