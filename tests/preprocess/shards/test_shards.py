"""What is written is what is read."""

from __future__ import annotations

import json
import shutil
import struct
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from common.files import publish
from preprocess import FrameSettings, PreprocessError, Shards, open_shards
from preprocess.errors import ShardError
from preprocess.extraction.extract import extract
from preprocess.shards.chunks import locate_chunks
from preprocess.shards.schema import (
    SCHEMA_VERSION,
    ClipRecord,
    open_file,
    read_records,
    read_rows,
)
from preprocess.shards.writer import ShardWriter, chunk_frames
from tests.preprocess.conftest import read_plainly, stored_frames
from tests.processes import PATIENCE_SECONDS

COMPRESSIONS = ["none", "lz4", "zstd"]


def record(source: str, num_frames: int) -> ClipRecord:
    return ClipRecord(source, "é", "é/1", 10, 2**62, num_frames, 29.97, 320, 240)


def write_shard(folder: Path, frames: list[np.ndarray], settings: FrameSettings) -> Path:
    """A shard with these clips, and between them one that was dropped."""
    length = chunk_frames(settings)
    generator = np.random.default_rng(9)
    with ShardWriter(folder, settings) as writer:
        for index, clip in enumerate(frames):
            writer.begin_clip()
            writer.append(np.full((length, *settings.frame_shape), 7, np.uint8), length)
            writer.drop_clip()
            writer.begin_clip()
            for start in range(0, len(clip), length):
                part = clip[start : start + length]
                chunk = generator.integers(0, 256, (length, *settings.frame_shape), np.uint8)
                chunk[: len(part)] = part
                writer.append(chunk, len(part))
            writer.end_clip(record(f"clip {index}", len(clip)))
        sealed = writer.seal()
    publish(sealed)
    return sealed.path


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("content", ["noise", "flat"])
def test_round_trip(tmp_path: Path, compression: str, content: str) -> None:
    """Noise does not compress, which LZ4's chunks must say; 1 and 50 frames leave chunks open."""
    settings = FrameSettings(size=(80, 60), compression=compression)
    generator = np.random.default_rng(0)
    high = 256 if content == "noise" else 1
    frames = [generator.integers(0, high, (n, 60, 80, 3), np.uint8) for n in (1, 18, 50)]
    path = write_shard(tmp_path, frames, settings)
    assert read_records(path) == [record(f"clip {i}", len(clip)) for i, clip in enumerate(frames)]
    with h5py.File(path) as file:
        for index, clip in enumerate(frames):
            np.testing.assert_array_equal(file["clips"][f"{index:04d}"][()], clip)


def test_stored_chunks_waste_nothing(tmp_path: Path) -> None:
    """Noise is stored as it is, and the open end of a last chunk is empty."""
    settings = FrameSettings(size=(80, 60))
    length = chunk_frames(settings)
    noise = np.random.default_rng(0).integers(0, 256, (length + 1, 60, 80, 3), np.uint8)
    with h5py.File(write_shard(tmp_path, [noise], settings)) as file:
        whole, part = (file["clips"]["0000"].id.get_chunk_info(number) for number in range(2))
        assert whole.size == noise[:length].nbytes + 16
        assert part.size < 2 * noise[0].nbytes


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), ShardWriter(tmp_path, FrameSettings()) as writer:
        writer.begin_clip()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def folder(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    extract(videos, folder, FrameSettings(size=(32, 24)), jobs=1)
    return folder


@pytest.fixture
def shards(folder: Path) -> Shards:
    return open_shards(folder)


def test_clips_tell_what_the_folders_told(shards: Shards, videos: Path) -> None:
    assert len(shards) == 12
    assert shards.sources == sorted(shards.sources)
    assert shards.class_names == ["biking", "walking"]
    assert shards.dataset == videos.name
    assert shards.frame_size == (32, 24)
    assert shards.stride == 1
    assert shards.labels.tolist() == [0] * 6 + [1] * 6
    assert shards.num_frames.tolist() == list(range(10, 22))
    clip = shards[7]
    assert clip.source == "walking/v_walking_01/v_walking_01_02.mpg"
    assert (clip.class_name, clip.label, clip.group) == ("walking", 1, "walking/v_walking_01")
    assert (clip.num_frames, clip.fps, clip.original_size) == (17, 25.0, (64, 48))
    assert shards.groups[7] == clip.group


def test_frames_are_opencvs_own(shards: Shards, videos: Path) -> None:
    for clip in shards:
        expected = read_plainly(videos / clip.source, (32, 24))
        np.testing.assert_array_equal(clip.frames, expected)


@pytest.mark.parametrize(("stride", "max_frames"), [(1, None), (2, None), (3, 4), (1, 5), (5, 99)])
def test_reading_a_part(shards: Shards, stride: int, max_frames: int | None) -> None:
    clip = shards[11]
    expected = clip.frames[::stride][:max_frames]
    np.testing.assert_array_equal(clip.read(stride=stride, max_frames=max_frames), expected)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_parts_of_many_chunks(tmp_path: Path, compression: str) -> None:
    """Red if frames at the edges of chunks are lost, moved or taken twice at some stride."""
    settings = FrameSettings(size=(80, 60), compression=compression)
    length = chunk_frames(settings)
    clip = np.random.default_rng(0).integers(0, 9, (4 * length + 3, 60, 80, 3), np.uint8)
    shard = write_shard(tmp_path, [clip], settings)
    with open_file(shard) as file:
        stored = locate_chunks(file, 0, clip.shape)
    for start in (0, 1, length - 1, length, 2 * length + 5):
        for stride in (1, 2, length, length + 1, 3 * length):
            for stop in (start + 1, 3 * length, len(clip)):
                expected = clip[start:stop:stride]
                found = np.full_like(expected, 99)
                for place, chunk in stored.read(shard, start, max(start, stop), stride):
                    found[place : place + len(chunk)] = chunk
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["LZ4", "Zstd"])
def test_chunks_of_hdf5s_own_filters(tmp_path: Path, name: str) -> None:
    """Red if only what this program's writer compresses can be read."""
    settings = FrameSettings(size=(80, 60))
    clip = np.random.default_rng(0).integers(0, 9, (40, 60, 80, 3), np.uint8)
    shard = write_shard(tmp_path, [clip], settings)
    with h5py.File(shard, "r+") as file:
        del file["clips"]["0000"]
        chunks, compression = (chunk_frames(settings), 60, 80, 3), getattr(hdf5plugin, name)()
        file["clips"].create_dataset("0000", data=clip, chunks=chunks, **compression)
    np.testing.assert_array_equal(read_frames(shard, 0, len(clip), clip.shape), clip)


@pytest.mark.parametrize("fault", ["no head", "size", "blocks", "cut off", "no filter", "rows"])
def test_hostile_chunks_are_refused(tmp_path: Path, fault: str) -> None:
    """Red if a chunk's own claims decide how much is written, or are not looked at."""
    settings = FrameSettings(size=(80, 60))
    length = chunk_frames(settings)
    clip = np.zeros((length, 60, 80, 3), np.uint8)
    shard = write_shard(tmp_path, [clip], settings)
    with h5py.File(shard, "r+") as file:
        dataset = file["clips"]["0000"]
        mask, content = dataset.id.read_direct_chunk((0, 0, 0, 0))
        size, block, compressed = struct.unpack(">QII", content[:16])
        content = {
            "no head": content[:9],
            "size": struct.pack(">QII", size * 2, size * 2, compressed) + content[16:],
            "blocks": struct.pack(">QII", size, block // 2, compressed) + content[16:],
            "cut off": content[:-9],
            "no filter": clip.tobytes(),
            "rows": content,
        }[fault]
        if fault == "rows":  # a chunk beyond the frames in place of the first
            del file["clips"]["0000"]
            shape, chunks = (length, 60, 80, 3), (2 * length, 60, 80, 3)
            dataset = file["clips"].create_dataset(
                "0000", shape, "u1", chunks=chunks, maxshape=chunks, **hdf5plugin.LZ4()
            )
        mask = 1 if fault == "no filter" else mask
        dataset.id.write_direct_chunk((0, 0, 0, 0), content, filter_mask=mask)
    with pytest.raises(ShardError, match=r"is damaged|is refused"):
        read_frames(shard, 0, len(clip), clip.shape)


def test_slices_and_negative_positions(shards: Shards) -> None:
    assert shards[-1].source == shards.sources[-1]
    assert [clip.source for clip in shards[2:4]] == shards.sources[2:4]


def test_threads_may_share(shards: Shards) -> None:
    expected = [clip.frames for clip in shards]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda index: shards[index % 12].frames, range(48)))
    for index, frames in enumerate(found):
        np.testing.assert_array_equal(frames, expected[index % 12])


def total(clip: object) -> int:
    return int(clip.frames.sum())  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_may_share(shards: Shards, method: str) -> None:
    expected = [total(clip) for clip in shards]  # opens files, which a fork must not use
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        assert list(pool.map(total, shards)) == expected


def test_a_fork_does_not_wait_for_a_thread_of_the_parent(shards: Shards) -> None:
    held, released = threading.Event(), threading.Event()

    def hold() -> None:
        with shards._lock:
            held.set()
            released.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = get_context("fork").Process(target=total, args=(shards[0],))
    child.start()
    child.join(timeout=PATIENCE_SECONDS)
    released.set()
    thread.join()
    assert child.exitcode == 0
    child.close()


def test_few_files_are_open_at_a_time(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preprocess.shards.reader._MAX_OPEN_FILES", 3)
    assert [clip.num_frames for clip in shards] == [len(clip.frames) for clip in shards]
    assert len(shards._files) == 3
    shards.close()
    assert len(shards._files) == 0
    assert len(shards[0].frames) == 10


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"No shards in .*nowhere.* python -m preprocess"):
        open_shards(tmp_path / "nowhere")
    with pytest.raises(ShardError, match="No shards in"):
        open_shards(tmp_path)


@pytest.fixture(scope="module")
def undamaged(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undamaged")
    extract(videos, folder, FrameSettings(size=(32, 24)), jobs=1, command="finish me")
    return folder


@pytest.fixture
def copy(undamaged: Path, tmp_path: Path) -> Path:
    """Shards to damage."""
    shutil.copytree(undamaged, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_incomplete_extraction_names_the_command(copy: Path) -> None:
    index = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps(index | {"complete": False}))
    with pytest.raises(ShardError, match="finish me"):
        open_shards(copy)


def test_a_shard_that_went_away_is_missed(copy: Path) -> None:
    next(copy.glob("shard-*.h5")).unlink()
    with pytest.raises(ShardError, match=r"11 of 12 clips.*finish me"):
        open_shards(copy)


@pytest.mark.parametrize("content", [b"", b"junk"])
def test_a_damaged_file_is_named(copy: Path, content: bytes) -> None:
    shard = next(copy.glob("shard-*.h5"))
    shard.write_bytes(content)
    with pytest.raises(ShardError, match=f"{shard.name} is damaged"):
        open_shards(copy)


def read_frames(shard: Path, start: int, stop: int, shape: tuple[int, ...]) -> np.ndarray:
    """Frames [start, stop) of the first clip."""
    with open_file(shard) as file:
        stored = locate_chunks(file, 0, shape)
    return np.concatenate([chunk.copy() for _, chunk in stored.read(shard, start, stop)])


def test_damaged_frames_are_named(copy: Path) -> None:
    shards = open_shards(copy)
    shard = shards[0]._shard
    with h5py.File(shard) as file:
        place = file["clips"]["0000"].id.get_chunk_info(0)
    with shard.open("r+b") as file:
        file.seek(place.byte_offset)
        file.write(b"\xff" * place.size)
    with pytest.raises(ShardError, match=f"{shard.name} is damaged"):
        shards[0].frames  # noqa: B018


def test_another_schema_version(copy: Path) -> None:
    for shard in copy.glob("shard-*.h5"):
        with h5py.File(shard, "r+") as file:
            file.attrs["schema_version"] = SCHEMA_VERSION + 1
    with pytest.raises(ShardError, match=r"schema version \d.*reads \d.*--overwrite"):
        open_shards(copy)


def test_an_index_that_is_not_understood(copy: Path) -> None:
    (copy / "dataset.json").write_text("{}")
    with pytest.raises(PreprocessError, match=r"dataset\.json is damaged"):
        open_shards(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"complete": "yes"},
        {"num_clips": -1},
        {"num_clips": True},
        {"command": None},
        {"class_names": ["biking", "biking"]},
        {"class_names": [3, 4]},
        {"settings": {"size": [16]}},
        {"settings": 7},
    ],
    ids=str,
)
def test_an_index_of_other_kinds_is_refused(copy: Path, changes: dict[str, object]) -> None:
    """Red when a wrong value goes on to where nobody expects it."""
    index = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps(index | changes))
    with pytest.raises(ShardError, match=r"dataset\.json is damaged"):
        open_shards(copy)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_flipped_bit_is_noticed(tmp_path: Path, compression: str) -> None:
    """Red when a frame is given that is not the one written, or a sound one is refused."""
    settings = FrameSettings(size=(80, 60), compression=compression)
    clip = np.random.default_rng(0).integers(0, 99, (40, 60, 80, 3), np.uint8)
    shard = write_shard(tmp_path, [clip], settings)
    sound, length = shard.read_bytes(), chunk_frames(settings)
    with h5py.File(shard) as file:
        second = file["clips"]["0000"].id.get_chunk_info(1)
    for offset in range(second.byte_offset, second.byte_offset + second.size, second.size // 20):
        content = bytearray(sound)
        content[offset] ^= 4
        shard.write_bytes(content)
        before = read_frames(shard, 0, length, clip.shape)
        with pytest.raises(ShardError, match="is damaged"):
            read_frames(shard, 0, len(clip), clip.shape)
        np.testing.assert_array_equal(before, clip[:length])


def test_a_flipped_bit_is_told_with_its_frame(tmp_path: Path) -> None:
    settings = FrameSettings(size=(80, 60), compression="none")
    clip = np.zeros((40, 60, 80, 3), np.uint8)
    shard = write_shard(tmp_path, [clip], settings)
    with h5py.File(shard, "r+") as file:
        file["clips"]["0000"][31, 5, 5, 1] = 1
    with pytest.raises(ShardError, match="frame 31 of clip 0000 is not"):
        read_frames(shard, 20, len(clip), clip.shape)


def test_a_flipped_bit_of_a_time_is_noticed(tmp_path: Path) -> None:
    times = np.arange(50) / 25
    with ShardWriter(tmp_path, FrameSettings(size=(8, 6))) as writer:
        writer.begin_clip()
        writer.end_clip(record("a", 50), times)
        sealed = writer.seal()
    content = bytearray(sealed.temporary.read_bytes())
    content[content.index(times.tobytes()) + 100] ^= 1
    sealed.path.write_bytes(content)
    with open_file(sealed.path) as file, pytest.raises(ShardError, match="is damaged"):
        read_rows(file, "times/0000")


def rewrite_records(shard: Path, rows: np.ndarray) -> None:
    with h5py.File(shard, "r+") as file:
        del file["records"]
        file.create_dataset("records", data=rows, fletcher32=True)


def test_another_record_is_noticed(copy: Path) -> None:
    """Red when a class, a rate or a size is believed that was not written."""
    shard = open_shards(copy)[0]._shard
    content = bytearray(shard.read_bytes())
    content[content.index(b'"fps": 25.0') + 7] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ShardError, match=f"{shard.name} is damaged"):
        open_shards(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_frames": -1}, r"shard-.* is damaged \(it is to hold -1 frames"),
        ({"num_frames": 0}, r"shard-.* is damaged \(it is to hold 0 frames"),
        ({"num_frames": 10.0}, r"shard-.* is damaged \(num_frames of a clip is 10\.0"),
        ({"mtime_ns": True}, r"shard-.* is damaged \(mtime_ns of a clip is True"),
        ({"original_width": 0}, r"shard-.* is damaged \(.* is to be 0x\d+\)"),
        ({"original_height": -2}, r"shard-.* is damaged \(.* is to be \d+x-2\)"),
        ({"fps": "25"}, r"shard-.* is damaged \(fps of a clip is '25'"),
        ({"source": ""}, r"shard-.* is damaged"),
        ({"source": None}, r"shard-.* is damaged"),
        ({"unknown": 1}, r"shard-.* is damaged"),
        ({"class_name": "sleeping"}, r"its shards hold the class 'sleeping'"),
        ({"source": "walking/v_walking_02/v_walking_02_03.mpg"}, r"its shards hold a clip twice"),
    ],
    ids=str,
)
def test_an_impossible_record_is_refused(
    copy: Path, changes: dict[str, object], message: str
) -> None:
    """Red when a clip has another number of frames, or another class, than was stored."""
    shard = open_shards(copy)[0]._shard
    records = [asdict(record) for record in read_records(shard)]
    records[0] |= changes
    rewrite_records(shard, np.frombuffer(json.dumps(records).encode(), np.uint8))
    with pytest.raises(ShardError, match=message):
        open_shards(copy)


@pytest.mark.parametrize("text", [b"{", b"7", b"[7]", b'{"a": 1}', b"\xff", b"[" * 10**5])
def test_records_that_are_none_are_refused(copy: Path, text: bytes) -> None:
    shard = open_shards(copy)[0]._shard
    rewrite_records(shard, np.frombuffer(text, np.uint8))
    with pytest.raises(ShardError, match=f"{shard.name} is damaged"):
        open_shards(copy)


@pytest.mark.parametrize("content", [7, "x", np.zeros(3), h5py.Empty("u1")], ids=repr)
def test_a_table_of_another_kind_is_refused(copy: Path, content: object) -> None:
    shard = next(copy.glob("shard-*.h5"))
    with h5py.File(shard, "r+") as file:
        del file["records"]
        file["records"] = content
    with pytest.raises(ShardError, match=f"{shard.name} is damaged"):
        open_shards(copy)


@pytest.mark.parametrize("change", ["float", "shorter", "narrower", "flat"])
def test_frames_of_another_kind_are_refused(copy: Path, change: str) -> None:
    """Red when a model is given fewer frames than are recorded, or numbers that are no pixels."""
    shards = open_shards(copy)
    with h5py.File(shards[0]._shard, "r+") as file:
        frames = file["clips"]["0000"][()]
        del file["clips"]["0000"]
        file["clips"]["0000"] = {
            "float": frames / 255,
            "shorter": frames[1:],
            "narrower": frames[:, :, 1:],
            "flat": frames.reshape(-1),
        }[change]
    with pytest.raises(ShardError, match=f"{shards[0]._shard.name} is damaged"):
        shards[0].read(max_frames=2)


def test_bytes_do_not_depend_on_the_compression(videos: Path, tmp_path: Path) -> None:
    for name in COMPRESSIONS:
        extract(videos, tmp_path / name, FrameSettings(compression=name), jobs=1)
    first, *others = (stored_frames(tmp_path / name) for name in COMPRESSIONS)
    assert all(other == first for other in others)


def test_shards_of_before_are_the_same() -> None:
    """Red if settings that came later are named at their default, or others are not named."""
    usual = {"size": [160, 120], "stride": 1, "max_frames": None, "compression": "lz4"}
    assert FrameSettings().to_json() == usual
    assert FrameSettings(grey=True).to_json() == usual | {"grey": True}
