"""Shards of a stranger: what leads out of the file, and what it only claims, is refused."""

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.errors import ShardError
from preprocess.shards import hdf5_check
from preprocess.shards.hdf5_check import HDF5_S_OWN, UnsafeFileError, check_file, open_dataset
from preprocess.shards.schema import ClipRecord, open_file, read_records
from preprocess.shards.schema import read_rows as read
from preprocess.shards.settings import FrameSettings
from preprocess.shards.writer import ShardWriter, chunk_frames

SECRET = np.full((3, 4, 6, 3), 115, np.uint8)
COMPRESSIONS = ("none", "lz4", "zstd")


def write_shard(folder, compression="lz4", num_frames=3):
    """A sound shard of one clip; its path."""
    made_with = FrameSettings(size=(6, 4), compression=compression)
    chunk = np.zeros((chunk_frames(made_with), 4, 6, 3), np.uint8)
    with ShardWriter(folder, made_with) as writer:
        writer.begin_clip()
        if num_frames:
            writer.append(chunk, num_frames)
        writer.end_clip(ClipRecord("a.mp4", "a", "g", 1, 1, num_frames, 25.0, 6, 4), [0.0] * 3)
        sealed = writer.seal()
    sealed.temporary.rename(folder / "shard-0.h5")
    return folder / "shard-0.h5"


@pytest.fixture
def secret(tmp_path):
    """A file of the reader's own that a shard must not show."""
    (tmp_path / "own").mkdir()
    path = tmp_path / "own" / "secret.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = SECRET
        file.create_group("clips")["0000"] = SECRET
    path.with_suffix(".raw").write_bytes(SECRET.tobytes())
    return path


@pytest.fixture
def shard(tmp_path):
    return write_shard(tmp_path)


def replaced(path, name):
    """The file, open, without one of its parts."""
    file = h5py.File(path, "r+")
    del file[name]
    return file


def external_link(path, secret):
    with replaced(path, "clips/0000") as file:
        file["clips/0000"] = h5py.ExternalLink(str(secret), "/frames")


def external_link_to_a_group(path, secret):
    with replaced(path, "clips") as file:
        file["clips"] = h5py.ExternalLink(str(secret), "/clips")


def soft_link_through_an_external_one(path, secret):
    with replaced(path, "clips/0000") as file:
        file["elsewhere"] = h5py.ExternalLink(str(secret), "/")
        file["clips/0000"] = h5py.SoftLink("/elsewhere/frames")


def virtual_dataset(path, secret):
    layout = h5py.VirtualLayout(SECRET.shape, np.uint8)
    layout[:] = h5py.VirtualSource(str(secret), "frames", SECRET.shape)
    with replaced(path, "clips/0000") as file:
        file["clips"].create_virtual_dataset("0000", layout)


def external_storage(path, secret):
    raw = [(str(secret.with_suffix(".raw")), 0, SECRET.nbytes)]
    with replaced(path, "clips/0000") as file:
        file["clips"].create_dataset("0000", SECRET.shape, np.uint8, external=raw)


LEADING_OUT = {
    external_link: "'0000' is a link",
    external_link_to_a_group: "'clips' is a link",
    soft_link_through_an_external_one: "'0000' is a link",
    virtual_dataset: "a virtual dataset",
    external_storage: "in another file",
}


@pytest.mark.parametrize(("attack", "message"), LEADING_OUT.items())
def test_what_leads_out_of_a_shard_is_refused(attack, message, shard, secret):
    """Red when frames are read by HDF5's own path, which follows all of these."""
    attack(shard, secret)
    with h5py.File(shard) as file:  # so the attack is one
        assert (file["clips/0000"][()] == SECRET).all()
    with open_file(shard) as file, pytest.raises(ShardError, match=f"is refused: .*{message}"):
        read(file, "clips/0000", slice(0, 1))


def claims_without_chunks(file):
    file["clips"].create_dataset("0000", (10**12, 4, 6, 3), np.uint8, chunks=(64, 4, 6, 3))


def claims_without_values(file):
    file["clips"].create_dataset("0000", (10**9, 4, 6, 3), np.uint8)


def claims_of_a_chunk(file):
    made = {"chunks": (2**20, 4, 6, 3), "maxshape": (None, 4, 6, 3), **hdf5plugin.LZ4()}
    dataset = file["clips"].create_dataset("0000", (1, 4, 6, 3), np.uint8, **made)
    dataset.id.write_direct_chunk((0, 0, 0, 0), bytes(20))


@pytest.mark.parametrize(
    "attack", [claims_without_chunks, claims_without_values, claims_of_a_chunk]
)
def test_what_a_shard_only_claims_takes_no_memory(attack, shard):
    """Red when the shape of a dataset is believed."""
    with replaced(shard, "clips/0000") as file:
        attack(file)
    with open_file(shard) as file, pytest.raises(ShardError, match="is refused"):
        read(file, "clips/0000")


def test_a_filter_of_others_is_refused(shard):
    """Red when HDF5 may load a plug-in that a file names."""
    with replaced(shard, "clips/0000") as file:
        file["clips"].create_dataset("0000", data=SECRET, compression="gzip")
    with open_file(shard) as file, pytest.raises(ShardError, match="filter 1,"):
        read(file, "clips/0000")


def test_records_from_elsewhere_are_refused(shard, tmp_path):
    (tmp_path / "other").mkdir()
    other = write_shard(tmp_path / "other")
    with replaced(shard, "records") as file:
        file["records"] = h5py.ExternalLink(str(other), "/records")
    with pytest.raises(ShardError, match="'records' is a link"):
        read_records(shard)


def test_a_version_of_many_values_is_refused(shard):
    with h5py.File(shard, "r+") as file:
        del file.attrs["schema_version"]
        file.attrs["schema_version"] = np.full(4000, 2)
    with pytest.raises(ShardError, match="is not one value"):
        open_file(shard)


@settings(max_examples=25, deadline=None)
@given(compression=st.sampled_from(COMPRESSIONS), num_frames=st.integers(0, 64))
def test_shards_of_our_own_pass(tmp_path_factory, compression, num_frames):
    """Red when the limits are narrower than what compresses best: frames that are all black."""
    path = write_shard(tmp_path_factory.mktemp("own"), compression, num_frames)
    with open_file(path) as file:
        assert read(file, "clips/0000").shape == (num_frames, 4, 6, 3)
        assert read(file, "times/0000").tolist() == [0.0] * 3
        check_file(file, hdf5_check.SHARDS_OWN)


@pytest.mark.parametrize("attack", LEADING_OUT)
def test_a_whole_file_is_checked(attack, shard, secret):
    with h5py.File(shard) as file:
        check_file(file, hdf5_check.SHARDS_OWN)
    attack(shard, secret)
    with h5py.File(shard) as file, pytest.raises(UnsafeFileError):
        check_file(file, hdf5_check.SHARDS_OWN)


def test_groups_in_a_circle_come_to_an_end(tmp_path):
    """Red when a group that holds itself is followed for ever."""
    with h5py.File(tmp_path / "circle.h5", "w") as file:
        file["again"] = file["/"]
        with pytest.raises(UnsafeFileError, match="deeper"):
            check_file(file, HDF5_S_OWN)


def test_many_ways_to_one_group_come_to_an_end(tmp_path, monkeypatch):
    """Red when only the depth is limited: 2 links a level are 2**64 ways."""
    monkeypatch.setattr(hdf5_check, "_MAX_OBJECTS", 1000)
    with h5py.File(tmp_path / "maze.h5", "w") as file:
        below = file.create_group("end")
        for level in range(40):
            group = file.create_group(f"level{level}")
            group["left"], group["right"] = below, below
            below = group
        with pytest.raises(UnsafeFileError, match="1,000 parts"):
            check_file(file, HDF5_S_OWN)


def test_what_is_no_dataset_is_missing(shard):
    with h5py.File(shard) as file:
        for name in ("clips", "clips/0001", "clips/0000/deeper"):
            with pytest.raises(KeyError):
                open_dataset(file, name, hdf5_check.SHARDS_OWN)
