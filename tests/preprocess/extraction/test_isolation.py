"""Decoders that crash, stall or ask for too much, each planted: they cost their own clip."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from types import ModuleType

import pytest

from preprocess import FrameSettings, PreprocessError
from preprocess.extraction.extract import extract
from preprocess.extraction.worker import ClipTask, TaskResult, decode_clips
from preprocess.sources.clips import find_clips
from preprocess.workers.child_process import MEMORY_BYTES, ChildProcess
from preprocess.workers.cluster import open_workers
from preprocess.workers.pool import WorkerPool
from tests.preprocess.conftest import decoding_processes, planted_module, stored_frames
from tests.processes import wait_until

pytestmark = pytest.mark.usefixtures("executed_decoders")
PLANTED = """
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
from preprocess import FrameSettings
from preprocess.workers.child_process import ended_if_stalled

@dataclass(frozen=True)
class Planted(FrameSettings):
    end: str = "crash"
    victim: str = ""

    def open(self, clip, *, threads):
        if clip.source == self.victim:
            {
                "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
                "crash once": self.crash_once,
                "stall": self.stall,
                "hang": self.hang,
                "memory": lambda: bytearray(5 * 2**30),
                "bug": lambda: [][0],
            }[self.end]()
        return super().open(clip, threads=threads)

    def stall(self):
        # The watch gives a clip minutes; here it is made to strike at once, even if it has just
        # been set anew.
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 900
        while True:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            time.sleep(1)

    def hang(self):
        Path("hanging").touch()
        signal.pause()

    def crash_once(self):
        if not Path("crashed").exists():
            Path("crashed").touch()
            os.kill(os.getpid(), signal.SIGSEGV)

def leave(pipe):
    raise SystemExit(3)

def wait_for_the_owner(pipe):
    with ended_if_stalled(60) as watch:
        watch.follow(lambda: "no progress")
        with watch.waiting():
            signal.setitimer(signal.ITIMER_REAL, 30)
            while signal.getitimer(signal.ITIMER_REAL)[0] <= 30:
                time.sleep(0.01)
        pipe.send("waited")

def leave_within_a_word(pipe):
    os.write(pipe.fileno(), bytes([0, 0, 1, 0]) + bytes(10))  # of 256 bytes
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What processes are made to do."""
    return planted_module(PLANTED, tmp_path, monkeypatch)


def task_of(videos: Path, folder: Path, settings: FrameSettings) -> ClipTask:
    folder.mkdir()
    return ClipTask(tuple(find_clips(videos)), folder, settings, 10**8, stall_seconds=900)


def decoded(task: ClipTask) -> TaskResult:
    pool = WorkerPool()
    try:
        return decode_clips(task, pool, lambda: True)
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("crash", "the decoder crashed (SIGSEGV)"),
        ("stall", "the decoder gave nothing for 900 s"),
        ("memory", "its pictures take more memory than a decoder may have"),
    ],
)
def test_an_end_costs_its_clip_alone(videos, tmp_path, planted, end, reason) -> None:
    """Red if clips before or after the one at fault are lost, or stored twice."""
    clips = find_clips(videos)
    victim = clips[5].source
    task = task_of(videos, tmp_path / "shards", planted.Planted(end=end, victim=victim))
    result = decoded(task)
    assert result.failures == {victim: reason}
    assert result.num_clips == len(clips)
    for shard in result.shards:
        os.replace(shard.temporary, shard.path)
    (tmp_path / "expected").mkdir()
    extract(videos, tmp_path / "expected", FrameSettings(), jobs=1)
    expected = stored_frames(tmp_path / "expected")
    del expected[victim]
    assert _frames(tmp_path / "shards", tmp_path / "expected") == expected


def _frames(folder: Path, like: Path) -> dict[str, bytes]:
    index = json.loads((like / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(index | {"num_clips": 11}))
    return stored_frames(folder)


def test_a_clip_is_not_blamed_for_one_crash(videos, tmp_path, planted) -> None:
    victim = find_clips(videos)[3].source
    task = task_of(videos, tmp_path / "shards", planted.Planted(end="crash once", victim=victim))
    result = decoded(task)
    assert Path("crashed").exists()
    assert (result.failures, result.num_clips) == ({}, 12)


def test_a_bug_of_ours_is_no_clip_s_fault(videos, tmp_path, planted) -> None:
    """Red if an exception in the child becomes a failed clip, or is lost."""
    victim = find_clips(videos)[3].source
    task = task_of(videos, tmp_path / "shards", planted.Planted(end="bug", victim=victim))
    with pytest.raises(IndexError):
        decoded(task)


def test_closing_ends_processes_at_work(videos, tmp_path, planted) -> None:
    """Red if Ctrl-C must wait for the clip that is being decoded."""
    victim = find_clips(videos)[0].source
    task = task_of(videos, tmp_path / "shards", planted.Planted(end="hang", victim=victim))
    with open_workers(decode_clips, None, tmp_path, jobs=2) as submit:
        future = submit(task)
        wait_until(Path("hanging").exists, "the clip that hangs")
    with pytest.raises(PreprocessError, match="processes are closed"):  # not: it gave nothing
        future.result(timeout=0)
    assert not decoding_processes(os.getpid())


def test_a_process_that_ends_as_it_starts_is_told_of(planted) -> None:
    process = ChildProcess(planted.leave)
    with pytest.raises(EOFError):
        process.receive()
    assert process.cause_of_death() == "exit code 3"
    assert not process.send("word")
    process.close()


def test_waiting_for_the_owner_is_no_stall(planted) -> None:
    """Red if a decoder is ended because its caller takes long over a batch."""
    process = ChildProcess(planted.wait_for_the_owner)
    assert process.receive() == "waited"
    process.close()


def test_a_death_within_a_word_is_a_death(planted) -> None:
    """Red if a large batch that is cut off ends the job."""
    process = ChildProcess(planted.leave_within_a_word)
    with pytest.raises(EOFError):
        process.receive()
    process.close()


def test_the_owner_s_memory_is_not_limited(videos, tmp_path) -> None:
    extract(videos, tmp_path, FrameSettings(), jobs=1)
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] != MEMORY_BYTES
