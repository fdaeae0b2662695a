"""PyTorch's files: read as torch itself reads them, where torch is not."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from tests.weights.pickles import call, named, string, text
from tests.weights.torch_pickles import (
    FILES,
    FUNCTION_SCOPED,
    GOLDEN,
    MAKERS,
    STORED,
    TENSOR,
    WEIGHT,
    assert_same,
    legacy_file,
    numpy_scalar,
    ordered,
    parameter,
    state_dict,
    storage,
    tensor,
    tensor_of,
    value,
    zip_file,
    zip_members,
    zipped,
)
from weights import WeightsError, read_arrays, read_state_dict

MEGABYTE = 2**20


@pytest.fixture
def expected():
    with np.load(GOLDEN / "torch_expected.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("file", FILES)
def test_what_torch_saves_is_read(read, expected, file):
    """Red if a stride, an offset, a type or a name is another than torch's own."""
    assert_same(read(FILES[file], read_state_dict), expected)


@pytest.mark.parametrize("file", FILES)
def test_all_of_a_checkpoint_is_read(read, expected, file):
    found = read(FILES[file])
    assert_same(found.pop("state_dict"), expected)
    optimizer = found.pop("optimizer")
    np.testing.assert_array_equal(
        optimizer["state"][0].pop("momentum_buffer"), expected["0.weight"]
    )
    assert optimizer == {
        "state": {0: {"step": 3}},
        "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "nesterov": False, "params": [0]}],
    }
    assert found.pop("rng").tolist() == [0, 1, 2]
    assert type(found["best_acc1"]) is float
    assert found == {
        "epoch": 12,
        "arch": "sequential é",
        "best_acc1": 71.25,
        "scheduler": {"milestones": {30: 1, 60: 2}, "last": None},
        "size": (3, 2, 2, 2, 2),
        "device": "cuda:1",
        "dtype": "torch.float16",
    }


@pytest.mark.parametrize("file", FILES)
def test_tensors_that_share_a_storage_share_their_memory(read, file):
    """Red if each tensor is a copy: a checkpoint of views would take many times its size."""
    found = read(FILES[file], read_state_dict)
    assert np.shares_memory(found["shared.whole"], found["shared.part"])
    assert found["tied"] is found["0.weight"] or np.shares_memory(found["tied"], found["0.weight"])
    assert not any(array.flags.writeable for array in found.values())


NUMBERS = st.sampled_from(["f2", "f4", "f8", "b1", "u1", "i1", "i2", "i4", "i8"]).map(np.dtype)


@st.composite
def views(draw):
    """An array as it is, with its axes turned, or every second of it."""
    shape = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    array = draw(arrays_of.arrays(NUMBERS, shape)).copy()
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    steps = st.tuples(st.integers(0, 1), st.integers(1, 2))
    return array[
        tuple(slice(start, None, step) for start, step in (draw(steps) for _ in array.shape))
    ]


@settings(max_examples=80, deadline=None, suppress_health_check=FUNCTION_SCOPED)
@given(
    st.dictionaries(st.text(max_size=5), views(), min_size=1, max_size=4),
    st.sampled_from(["zip", "legacy"]),
    st.sampled_from(["", "_v2"]),
)
def test_any_state_dict_is_read(saved, arrays, file, version):
    """By a writer of our own, so that it runs where torch is not."""
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    pickled, storages = state_dict(arrays, legacy=file == "legacy", version=version)
    assert_same(read_state_dict(saved(MAKERS[file](pickled, storages))), arrays)


@settings(max_examples=40, deadline=None, suppress_health_check=FUNCTION_SCOPED)
@given(
    st.dictionaries(st.text(max_size=5), views(), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from([2, 3, 4, 5]),
)
def test_what_torch_itself_saves_is_read(tmp_path, arrays, is_zip, protocol):
    """Where torch is: what it writes today, and that it reads what our own writer makes."""
    torch = pytest.importorskip("torch")
    arrays = {name: np.array(array) for name, array in arrays.items()}  # 0-dim ones too
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    path = tmp_path / "a.pth"
    options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": is_zip}
    torch.save({"model_state": tensors}, path, **options)
    assert_same(read_state_dict(path), arrays)
    file = "zip" if is_zip else "legacy"
    path.write_bytes(MAKERS[file](*state_dict(arrays, legacy=not is_zip)))
    own = torch.load(path, weights_only=True)
    assert_same({name: tensor.numpy() for name, tensor in own.items()}, arrays)


OLD_TENSOR = tensor(storage("Float", "0", 6, legacy=True), 0, (2, 3), (3, 1), version="")
OLD_STATE = (True, False, ordered({}))  # of a Parameter: requires_grad, volatile, hooks


def test_what_torch_0_3_saved_from_python_2_is_read(read):
    """As torchvision's first files: an OrderedDict made of pairs, Parameters with a state."""
    items = [[string(b"conv1.weight"), parameter(OLD_TENSOR, OLD_STATE)]]
    pickled = call(named("collections.OrderedDict"), value(items))
    found = read(legacy_file(pickled, {"0": WEIGHT}), read_state_dict)
    assert_same(found, {"conv1.weight": WEIGHT.reshape(2, 3)})


@pytest.mark.parametrize("make", MAKERS.values())
def test_other_values(read, make):
    plain = [None, True, -(2**40), 1.5, "é", (1, [2]), {}, [], {3: {"lr": 0.1}}]
    pickled = {
        "plain": plain,
        "old scalar": numpy_scalar(np.float64(0.1).tobytes()),
        "new scalar": numpy_scalar(b"\x07\x00", "i2", module="numpy._core.multiarray"),
        "bytes": call(named("_codecs.encode"), text("ÿ"), text("latin1")),
        "counter": call(named("collections.Counter"), value({30: 2})),
        "storage": STORED,
        "with state": ordered({"a": 1}, {"_metadata": ordered({"": {"version": 1}})}),
    }
    found = read(make(pickled, {"0": WEIGHT}))
    assert found.pop("storage").tolist() == WEIGHT.tolist()
    assert found == {
        "plain": plain,
        "old scalar": 0.1,
        "new scalar": 7,
        "bytes": b"\xff",
        "counter": {30: 2},
        "with state": {"a": 1},
    }


@pytest.mark.parametrize("name", ["UntypedStorage", "_UntypedStorage"])
def test_untyped_storages(read, name):
    """Of the types that came with torch 2.3, of which no typed storage exists."""
    stored = storage(f"torch.storage.{name}", "0", 24)
    rest = [False, ordered({}), named("torch.uint32")]
    pickled = {"w": tensor(stored, 1, (2, 2), (2, 1), version="_v3", rest=rest)}
    found = read(zip_file(pickled, {"0": np.arange(6, dtype="u4")}), read_state_dict)
    assert_same(found, {"w": np.array([[1, 2], [3, 4]], "u4")})


def test_bools_are_true_or_false(read):
    """Red if a byte of 2 becomes a bool that is neither."""
    stored = storage("Bool", "0", 3)
    found = read(zip_file({"w": tensor(stored, 0, (3,), (1,))}, {"0": np.array([0, 1, 2], "u1")}))
    assert found["w"].tobytes() == b"\x00\x01\x01"


def test_a_step_that_is_never_taken_may_be_any(read):
    """Of an axis of length 1: red if it must lie in the storage, or in numpy's integers."""
    pickled = {"w": tensor(STORED, 0, (1, 6), (2**62, 1))}
    found = read(zip_file(pickled, {"0": WEIGHT}), read_state_dict)
    assert_same(found, {"w": WEIGHT.reshape(1, 6)})


@pytest.mark.parametrize("prefix", ["", "archive/", "a b/c.d/é/"])
def test_any_name_of_the_archive(read, prefix):
    content = zip_file({"w": TENSOR}, {"0": WEIGHT}, prefix=prefix)
    assert_same(read(content, read_state_dict), {"w": WEIGHT.reshape(2, 3)})


def test_files_from_before_the_byte_order_was_written(read):
    members = [m for m in zip_members({"w": TENSOR}, {"0": WEIGHT}) if "byteorder" not in m[0]]
    assert_same(read(zipped(members), read_state_dict), {"w": WEIGHT.reshape(2, 3)})


@pytest.mark.parametrize("key", ["state_dict", "model_state", "model", "model_state_dict"])
def test_a_state_dict_is_found(read, key):
    pickled = {"epoch": 3, "best": TENSOR, "optimizer": {"state": {0: TENSOR}}}
    if key != "model":
        pickled["model"] = "slow_r50"
    pickled[key] = ordered({"w": TENSOR})
    content = zip_file(pickled, {"0": WEIGHT})
    assert_same(read(content, read_state_dict), {"w": WEIGHT.reshape(2, 3)})


NO_STATE_DICT = {
    "elsewhere": (
        {"epoch": 3, "net": {"w": TENSOR}},
        r"a.pth has no state dict at its top: epoch .*\['epoch', 'net'\]",
    ),
    "twice": (
        {"model": {"w": TENSOR}, "state_dict": {}},
        "at each of state_dict, model. Its own keys",
    ),
    "empty": ({}, "nothing is there"),
    "nested": ({"state_dict": {"w": TENSOR, "head": {"w": TENSOR}}}, "at state_dict: head"),
    "by numbers": ({"model": {0: TENSOR}}, "at model: 0 there is no tensor"),
    "a tensor": (TENSOR, "holds a call in place"),
    "a list": ([TENSOR], "holds a list in place"),
}


@pytest.mark.parametrize("case", NO_STATE_DICT)
def test_files_without_state_dict_are_told(read, case):
    pickled, message = NO_STATE_DICT[case]
    with pytest.raises(WeightsError, match=message):
        read(zip_file(pickled, {"0": WEIGHT}), read_state_dict)


def test_a_state_dict_elsewhere_is_read_by_its_key(saved):
    path = saved(zip_file({"epoch": 3, "net": {"w": TENSOR}}, {"0": WEIGHT}))
    assert_same(read_state_dict(path, keys=("net",)), {"w": WEIGHT.reshape(2, 3)})


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pyth", ".bin"])
def test_read_arrays_knows_the_suffixes(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(zip_file(*state_dict({"w": WEIGHT})))
    assert_same(read_arrays(tmp_path / f"a{suffix}"), {"w": WEIGHT})
    (tmp_path / f"a{suffix}").write_bytes(zip_file(*state_dict({"w": WEIGHT > 2})))
    with pytest.raises(WeightsError, match="w is of type bool"):
        read_arrays(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("file", MAKERS)
@pytest.mark.parametrize(("code", "times"), [("f4", 1), ("b1", 2)])
def test_a_large_file_needs_about_its_own_memory(saved, file, code, times):
    """Red if the file is read whole beside its arrays, or an optimizer's storages are."""
    arrays = {"w": np.zeros((1000, 2000), code), "v": np.zeros(10**6, code)}
    pickled, storages = state_dict(arrays)
    extra, storages["9"] = tensor_of(np.zeros(10**7, "u1"), "9")
    path = saved(MAKERS[file]({"model": pickled, "optimizer": [extra]}, storages))
    size = sum(array.nbytes for array in arrays.values())
    del arrays, storages
    tracemalloc.start()
    found = read_state_dict(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(found) == {"w", "v"}
    assert peak < times * size + MEGABYTE
