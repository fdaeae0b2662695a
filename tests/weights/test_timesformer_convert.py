"""`python -m weights convert --model timesformer`, and what hostile files come to there."""

import json
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from timesformer_golden import FOLDER, GOLDEN, TINY, check, clips, logits

from tests.weights.pickles import call, named, text
from tests.weights.torch_pickles import (
    STORED,
    WEIGHT,
    legacy_file,
    ordered,
    state_dict,
    storage,
    tensor,
    value,
    zip_file,
    zip_members,
    zipped,
)
from ttrnn.models import build_timesformer
from weights import model_arrays, read_arrays, read_state_dict, write_safetensors

PUBLISHED = FOLDER / "timesformer.pyth"
FILES = [PUBLISHED, FOLDER / "timesformer_hf.bin", FOLDER / "timesformer_hf.safetensors"]


def tiny_state():
    """Of the published file, to be spoilt."""
    return {key: np.array(array) for key, array in read_state_dict(PUBLISHED).items()}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_to_keras_weights(command, tmp_path, file):
    """Red if the model that is written through is of another structure than build_timesformer's."""
    out = tmp_path / "a.weights.h5"
    code, output, err = command("convert", file, out, "--model", "timesformer")
    assert (code, err) == (0, "")
    num_parameters = sum(array.size for array in tiny_state().values())
    assert output == f"{out}: 49 arrays, {num_parameters:,} parameters.\n"
    model = build_timesformer(3, heads=2, **TINY)
    model.load_weights(out)
    check(logits(model, clips(2, 16)[:1]), GOLDEN["tiny_logits"])


def test_a_vit_for_longer_and_larger_clips(command, tmp_path):
    """What is done is told; the new head has its classes, the resized embeddings their shapes."""
    out = tmp_path / "a.safetensors"
    args = ("--model", "timesformer", "--num-frames", 3, "--image-size", 24, "--num-classes", 5)
    code, output, _ = command("convert", FOLDER / "timesformer_vit.pth", out, *args)
    assert code == 0
    head, start, patches, done = output.splitlines()
    assert head == "The file's head of 3 classes is left out: that of 5 starts anew."
    assert start.startswith("The file has no temporal weights")
    assert patches == "pos_embed: 2 x 2 patches became 3 x 3, nearest."
    assert done.startswith(f"{out}: 49 arrays, ")
    options = {**TINY, "num_frames": 3, "image_size": 24}
    expected = model_arrays(build_timesformer(5, heads=2, **options))
    found = read_arrays(out)
    assert {n: a.shape for n, a in found.items()} == {n: a.shape for n, a in expected.items()}
    assert found["head/kernel"].any()


def test_a_file_of_ours_goes_through_again(command, tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert command("convert", PUBLISHED, first, "--model", "timesformer")[0] == 0
    assert command("convert", first, second, "--model", "timesformer")[0] == 0
    for name, array in read_arrays(first).items():
        np.testing.assert_array_equal(read_arrays(second)[name], array)


@pytest.mark.parametrize("kind", ["space", "joint"])
def test_other_kinds(command, tmp_path, kind):
    state = {key: array for key, array in tiny_state().items() if "temporal_" not in key}
    if kind == "space":
        del state["model.time_embed"]
    write_safetensors(tmp_path / "a.safetensors", state)
    out = tmp_path / "a.weights.h5"
    args = ("convert", tmp_path / "a.safetensors", out, "--model", f"timesformer_{kind}")
    assert command(*args)[0] == 0
    build_timesformer(3, heads=2, attention=kind, **TINY).load_weights(out)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--model", "timesformer", "--image-size", 20], "multiple of the patch size 8"),
        (["--model", "timesformer", "--num-frames", 0], "num_frames must be 1 or more"),
        (["--model", "timesformer", "--ignore", "fc9"], "must be in the file. fc9 is not"),
        (["--model", "timesformer", "--ignore", "model.head"], "say how many classes"),
        (["--model", "timesformer_joint"], "are not of the model: blocks_0/temporal_attn"),
        (["--model", "torchvision_resnet18", "--num-classes", 2], "--num-classes must go with"),
        (
            ["--num-frames", 0, "--ignore", "a"],
            "--num-frames and --ignore must go with --model tim",
        ),
    ],
)
def test_what_cannot_be_is_told_in_a_line(command, tmp_path, args, message):
    refused(command, PUBLISHED, tmp_path / "a.safetensors", message, *args)


def refused(command, path, out, message, *args):
    """One line, and nothing is written, not even in part."""
    before = sorted(out.parent.iterdir())
    code, output, err = command("convert", path, out, *args)
    assert (code, output) == (2, "")
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert sorted(out.parent.iterdir()) == before


def whole(state, **others):
    """A sound file of torch's around a state dict."""
    opcodes, storages = state_dict(state)
    return zip_file(ordered({"model_state": opcodes, **others}), storages)


def spoilt(**arrays):
    """The published file with other arrays; __ stands for a dot."""
    return whole(tiny_state() | {f"model.{k.replace('__', '.')}": a for k, a in arrays.items()})


def safetensors(header, data=b""):
    content = json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + data


def huge(name, shape):
    """A tensor of a shape that one number stands for, 0 steps apart."""
    one = tensor(storage("Float", "0", 1), 0, shape, (0,) * len(shape))
    return zip_file(ordered({"model_state": ordered({name: one})}), {"0": np.ones(1, "f4")})


def squeezed():
    """A zip bomb: a storage of zeros, compressed."""
    opcodes, storages = state_dict({"model.cls_token": np.zeros((1, 1, 2**22), "f4")})
    return zipped(zip_members(ordered({"model": opcodes}), storages), zipfile.ZIP_DEFLATED)


BEYOND = tensor(STORED, 4, (1, 1, 6), (6, 6, 1))
COMMAND = "touch hostile"
HOSTILE = {  # file name, content, what the message must say
    "a shell command": (
        "a.pyth",
        lambda: zip_file(ordered({"model_state": call(named("os.system"), text(COMMAND))})),
        "asks for os.system",
    ),
    "a shell command beside the weights": (
        "a.bin",
        lambda: whole(tiny_state(), cfg=call(named("posix.system"), text(COMMAND))),
        "asks for posix.system",
    ),
    "eval before 1.6": (
        "a.pth",
        lambda: legacy_file(ordered({"model": call(named("builtins.eval"), text("1"))})),
        "asks for builtins.eval",
    ),
    "a model by its class": (
        "a.pth",
        lambda: zip_file(call(named("timesformer.models.vit.TimeSformer"))),
        "asks for timesformer.models.vit.TimeSformer",
    ),
    "settings in a class": (
        "a.pyth",
        lambda: whole(tiny_state(), cfg=call(named("fvcore.common.config.CfgNode"))),
        "save the state dict alone",
    ),
    "a page of the web": ("a.pyth", lambda: b"<!DOCTYPE html><html>Sign in</html>", "is refused"),
    "a torn file": ("a.pyth", lambda: PUBLISHED.read_bytes()[:20_000], "is refused"),
    "nothing": ("a.bin", lambda: b"", "is refused"),
    "a zip bomb": ("a.pyth", squeezed, "is refused"),
    "a tensor of terabytes": (
        "a.pyth",
        lambda: huge("model.cls_token", (1, 1, 2**40)),
        "more than 20 times its own size",
    ),
    "a tensor beyond its storage": (
        "a.pyth",
        lambda: zip_file({"model": {"cls_token": BEYOND}}, {"0": WEIGHT}),
        "beyond its storage",
    ),
    "two state dicts": (
        "a.pyth",
        lambda: zip_file({"model": {"a": value(1)}, "model_state": {}}),
        "may have its state dict at each of model_state, model.",
    ),
    "a header of safetensors beyond the file": (
        "a.safetensors",
        lambda: struct.pack("<Q", 2**60) + b"{}",
        "no sound .safetensors file",
    ),
    "tensors of safetensors in one place": (
        "a.safetensors",
        lambda: safetensors(
            {k: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for k in "ab"}, bytes(4)
        ),
        "no sound .safetensors file",
    ),
    "a width of millions": (
        "a.pyth",
        lambda: spoilt(pos_embed=np.ones((1, 2, 2**20), "f4")),
        "are of another shape",
    ),
    "a width of millions without temporal weights": (
        "a.pth",
        lambda: whole(
            {k: a for k, a in tiny_state().items() if "temporal_" not in k}
            | {"model.pos_embed": np.ones((1, 2, 2**20), "f4")}
        ),
        "are of another shape",
    ),
    "a block far away": (
        "a.pyth",
        lambda: spoilt(blocks__9999__norm1__weight=np.ones(8, "f4")),
        "1 are not of the model: blocks_9999/norm1/gamma",
    ),
    "no tokens": ("a.pyth", lambda: spoilt(pos_embed=np.ones((1, 0, 8), "f4")), "Received 0 tok"),
    "no frames": (
        "a.pyth",
        lambda: spoilt(time_embed=np.ones((1, 0, 8), "f4")),
        "num_frames must be 1 or more. It is 0",
    ),
    "patches of no size": (
        "a.pyth",
        lambda: spoilt(patch_embed__proj__weight=np.ones((8, 3, 0, 0), "f4")),
        "must be 1 or more. It is 0",
    ),
    "patches that are no squares": (
        "a.pyth",
        lambda: spoilt(patch_embed__proj__weight=np.ones((8, 3, 8, 4), "f4")),
        "(8, 4, 3, 8) for (8, 8, 3, 8)",
    ),
    "numbers that are none": (
        "a.pyth",
        lambda: spoilt(norm__weight=np.full(8, np.inf, "f4")),
        "hold NaN or infinity: norm/gamma",
    ),
    "truth values": ("a.pyth", lambda: spoilt(norm__weight=np.ones(8, bool)), "of type bool"),
    "a key for the terminal": (
        "a.pyth",
        lambda: whole(tiny_state() | {"\x1b]0;gone\x07\n": np.ones(1, "f4")}),
        r"1 others: '\x1b]0;gone\x07\n'",
    ),
    "a key twice": (
        "a.pyth",
        lambda: whole(tiny_state() | {"module.norm.bias": np.ones(8, "f4")}),
        "norm/beta is there under two keys",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("suffix", [".weights.h5", ".safetensors"])
def test_a_hostile_file_is_refused_in_a_line(command, monkeypatch, tmp_path, case, suffix):
    """Red if anything of it is run, told at length, or makes room for what it announces."""
    monkeypatch.chdir(tmp_path)
    name, make, message = HOSTILE[case]
    path, content = tmp_path / name, make()
    path.write_bytes(content)
    tracemalloc.start()
    try:
        refused(command, path, tmp_path / f"out{suffix}", message, "--model", "timesformer")
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 32 * 2**20 + 8 * len(content)
    assert not (tmp_path / "hostile").exists()
