"""TimeSformers and plain ViTs of four projects: read, renamed, and made to fit."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timesformer_golden import FOLDER, GOLDEN, SMALL, TINY, check, clips, logits, torch_state

from tests.weights.torch_pickles import MAKERS, ordered, state_dict
from ttrnn.models import build_timesformer
from weights import (
    WeightsError,
    fit_timesformer,
    load_timesformer,
    model_arrays,
    read_arrays,
    timesformer_arrays,
    write_safetensors,
)
from weights.timesformer import TimesformerSize, size_of

FRESH = "The file has no temporal weights: temporal_attn and temporal_norm1 start as attn and norm1"


def checkpoint(items, *, layout="zip", **others):
    """A file of torch's in which a state dict lies under a name, beside others; "" for its top."""
    ((name, state),) = items.items()
    opcodes, storages = state_dict(state, legacy=layout == "legacy")
    content = opcodes if not name else ordered({**others, name: opcodes})
    return MAKERS[layout](content, storages)


def small(num_classes=7, **options):
    return build_timesformer(num_classes, heads=4, **SMALL | options)


@pytest.fixture(scope="module")
def model():
    """To be filled by each test as it likes."""
    return small()


def dulled(model):
    """Every weight at zero, so that what is not set shows."""
    for variable in model.weights:
        variable.assign(np.zeros(variable.shape))
    return model


@pytest.mark.parametrize(
    ("name", "project", "place", "options"),
    [
        ("original.pyth", "facebook", "model_state", {"epoch": 14, "cfg": "A: 1"}),
        ("data_parallel.pyth", "facebook", "module", {"layout": "legacy"}),
        ("pytorch_model.bin", "hf", "", {}),
        ("model.safetensors", "hf", "", {}),
    ],
)
def test_a_checkpoint_has_the_logits_of_its_project(model, tmp_path, name, project, place, options):
    """Red for a word of a table, axes left as torch's, or a place of the state dict unknown."""
    path, state = tmp_path / name, torch_state(project)
    if place == "module":
        state = {f"module.{key}": array for key, array in state.items()}
    if path.suffix == ".safetensors":
        write_safetensors(path, state)
    else:
        path.write_bytes(checkpoint({place: state}, **options))
    assert load_timesformer(dulled(model), path) == []
    check(logits(model, clips(4, 32)), GOLDEN["divided_logits"])


@pytest.mark.parametrize(
    ("name", "project", "place"),
    [
        ("deit.pth", "timm", "model"),
        ("vit.pth", "timm", ""),
        ("vit.safetensors", "timm", ""),
        ("vit_b_16.pth", "torchvision", ""),
    ],
)
def test_a_vit_sees_a_still_clip_as_a_picture(model, tmp_path, name, project, place):
    """A plain ViT's start: red if temporal_fc is not zero, or the spatial weights are another's."""
    path, state = tmp_path / name, torch_state(project)
    if path.suffix == ".safetensors":
        write_safetensors(path, state)
    else:
        path.write_bytes(checkpoint({place: state}))
    (note,) = load_timesformer(dulled(model), path)
    assert note.startswith(FRESH)
    still = np.repeat(clips(1, 32), 4, axis=1)
    check(logits(model, still), GOLDEN[f"{project}_logits"])
    arrays = model_arrays(model)
    assert not arrays["embed/time_embed"].any()
    copied = [name for name in arrays if "temporal_attn/" in name or "temporal_norm1/" in name]
    assert len(copied) == 3 * 6
    for name in copied:
        np.testing.assert_array_equal(arrays[name], arrays[name.replace("temporal_", "")])


@pytest.mark.parametrize("name", [".pyth", "_hf.bin", "_hf.safetensors"])
def test_files_that_the_projects_wrote(name):
    model = dulled(build_timesformer(3, heads=2, **TINY))
    assert load_timesformer(model, FOLDER / f"timesformer{name}") == []
    check(logits(model, clips(2, 16)[:1]), GOLDEN["tiny_logits"])


def test_a_vit_that_timm_wrote():
    model = dulled(build_timesformer(3, heads=2, **TINY))
    load_timesformer(model, FOLDER / "timesformer_vit.pth")
    check(logits(model, np.repeat(clips(1, 16)[:1], 2, axis=1)), GOLDEN["tiny_vit_logits"])


def test_files_that_torch_writes_here(model, tmp_path):
    """As above, by whatever torch is here: half precision, and the format of before 1.6."""
    torch = pytest.importorskip("torch", reason="the files that are checked in stand for it")
    state = {key: torch.from_numpy(array) for key, array in torch_state("facebook").items()}
    for number, options in enumerate([{}, {"_use_new_zipfile_serialization": False}]):
        torch.save({"model_state": state}, tmp_path / f"{number}.pyth", **options)
        load_timesformer(dulled(model), tmp_path / f"{number}.pyth")
        check(logits(model, clips(4, 32)), GOLDEN["divided_logits"])
    torch.save({key: tensor.half() for key, tensor in state.items()}, tmp_path / "half.pth")
    load_timesformer(model, tmp_path / "half.pth")
    check(logits(model, clips(4, 32)), GOLDEN["divided_logits"], 0.01)


def test_our_own_names_are_read_back(model, tmp_path):
    """Red if what `convert` wrote cannot be made to fit another model."""
    write_safetensors(tmp_path / "a.safetensors", timesformer_arrays(torch_state("hf")))
    assert load_timesformer(dulled(model), tmp_path / "a.safetensors") == []
    check(logits(model, clips(4, 32)), GOLDEN["divided_logits"])


@pytest.mark.parametrize("attention", ["joint", "space"])
def test_a_divided_file_is_not_another_kinds(attention):
    arrays = timesformer_arrays(torch_state("facebook"))
    shapes = TimesformerSize(num_classes=7, hidden=192, attention=attention, **SMALL).shapes()
    with pytest.raises(WeightsError, match="are not of the model: blocks_0/temporal_attn"):
        fit_timesformer(arrays, shapes)


def test_a_joint_file_starts_a_divided_model():
    """Its time_embed is kept: red if it starts at zero."""
    state = {key: array for key, array in torch_state("facebook").items() if "temporal_" not in key}
    arrays = timesformer_arrays(state)
    fitted, (note,) = fit_timesformer(arrays, size_of(arrays).shapes())
    assert note.startswith(FRESH)
    np.testing.assert_array_equal(fitted["embed/time_embed"], state["model.time_embed"])


@given(st.data())
def test_resizing_takes_the_nearest(data):
    """Against the definition in exact fractions, entry by entry."""
    frames, new_frames, side, new_side = (
        data.draw(st.integers(1, 40), fragment) for fragment in "tuhv"
    )
    size = {"num_classes": 2, "patch_size": 1, "dim": 3, "depth": 1, "hidden": 2}
    old, new = (
        TimesformerSize(num_frames=t, image_size=s, attention="divided", **size).shapes()
        for t, s in [(frames, side), (new_frames, new_side)]
    )
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape) for name, shape in old.items()}
    fitted, notes = fit_timesformer(arrays, new)
    assert len(notes) == (frames != new_frames) + (side != new_side)
    time, pos = fitted["embed/time_embed"], fitted["embed/pos_embed"]
    assert (time.shape, pos.shape) == (new["embed/time_embed"], new["embed/pos_embed"])
    for i in range(new_frames):
        source = floor(Fraction(i * frames, new_frames))
        np.testing.assert_array_equal(time[0, i], arrays["embed/time_embed"][0, source])
    np.testing.assert_array_equal(pos[0, 0], arrays["embed/pos_embed"][0, 0])
    for row, column in [(0, 0), (new_side // 2, new_side - 1), (new_side - 1, new_side // 3)]:
        source = [floor(Fraction(i * side, new_side)) for i in (row, column)]
        np.testing.assert_array_equal(
            pos[0, 1 + row * new_side + column],
            arrays["embed/pos_embed"][0, 1 + source[0] * side + source[1]],
        )


def test_a_head_of_other_classes_is_left_out_and_told(tmp_path):
    """Red if the rest is refused with it, or the model's own head is changed."""
    path = tmp_path / "a.safetensors"
    write_safetensors(path, torch_state("facebook"))
    model = small(num_classes=2, num_frames=6)
    before = model_arrays(model)
    assert load_timesformer(model, path) == [
        "The file's head of 7 classes is left out: that of 2 starts anew.",
        "time_embed: 4 frames became 6, nearest.",
    ]
    after = model_arrays(model)
    for name in before:
        assert np.array_equal(after[name], before[name]) == name.startswith("head/"), name


def test_a_file_without_head(model, tmp_path):
    """Such as transformers' TimesformerModel writes."""
    state = {
        key.removeprefix("timesformer."): array
        for key, array in torch_state("hf").items()
        if not key.startswith("classifier")
    }
    write_safetensors(tmp_path / "a.safetensors", state)
    notes = load_timesformer(model, tmp_path / "a.safetensors")
    assert notes == ["The file has no head: that of 7 classes starts anew."]
    with pytest.raises(
        WeightsError, match=r"number of classes must be known\. The file has no head"
    ):
        size_of(timesformer_arrays(state))


def without(*fragments):
    return lambda state: {
        k: a for k, a in state.items() if not any(fragment in k for fragment in fragments)
    }


def also(**arrays):
    return lambda state: state | {k.replace("__", "."): np.ones(s) for k, s in arrays.items()}


WRONG = {
    "a part that is missing": (
        without("blocks.1.attn.proj.bias"),
        "1 are missing: blocks_1/attn/proj/bias. Is",
    ),
    "a block that is missing": (
        without("blocks.1."),
        "20 are missing: blocks_1/attn/proj/bias, .* and 17 more. Is it another",
    ),
    "half of the temporal weights": (without("temporal_fc"), "6 are missing: blocks_0/temporal_fc"),
    "a block too many": (
        also(blocks__3__norm1__weight=(48,), blocks__3__norm1__bias=(48,)),
        "2 are not of the model: blocks_3/norm1/beta, blocks_3/norm1/gamma",
    ),
    "other shapes": (
        lambda s: s | {"model.blocks.0.mlp.fc1.weight": np.ones((48, 192))},
        r"1 are of another shape: blocks_0/fc1/kernel \(192, 48\) for \(48, 192\)",
    ),
    "a key twice": (also(cls_token=(1, 1, 48)), "embed/cls_token is there under two keys"),
    "a bit of each": (
        lambda s: (
            without("model.norm.bias")(s)
            | {"blocks.9.norm2.bias": np.ones(48), "model.cls_token": np.ones((2, 1, 48))}
        ),
        r"1 are missing: norm/beta; 1 are not of .*: blocks_9/norm2/beta; 1 .* \(2, 1, 48\) for",
    ),
    "keys of others": (
        also(dist_token=(1, 1, 48), head_dist__weight=(7, 48), features__0__weight=(1,)),
        "Received 3 others: dist_token, features.0.weight, head_dist.weight; is it another",
    ),
    "a distilled ViT": (
        lambda s: s | {"model.pos_embed": np.ones((1, 18, 48))},
        "a square of patches. Received 18 tokens",
    ),
    "axes missing": (
        lambda s: s | {"model.time_embed": np.ones((4, 48))},
        r"model.time_embed must have 3 axes. Received shape \(4, 48\)",
    ),
    "not numbers": (
        lambda s: s | {"model.norm.bias": np.full(48, np.nan)},
        "hold NaN or infinity: norm/beta",
    ),
    "integers": (
        lambda s: s | {"model.norm.bias": np.ones(48, int)},
        "of another kind of number: norm/beta int64",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_told_and_changes_nothing(model, tmp_path, case):
    alter, message = WRONG[case]
    path = tmp_path / "a.safetensors"
    write_safetensors(path, alter(torch_state("facebook")))
    before = model_arrays(model)
    with pytest.raises(WeightsError, match=message):
        load_timesformer(model, path)
    for name, array in model_arrays(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_keys_are_allowed_by_name(model, tmp_path):
    state = torch_state("timm") | {
        "pre_logits.fc.weight": np.ones((48, 48), "float32"),
        "pre_logits.fc.bias": np.ones(48, "float32"),
        "dist_token": np.ones((1, 1, 48), "float32"),
    }
    write_safetensors(tmp_path / "a.safetensors", state)
    load_timesformer(model, tmp_path / "a.safetensors", ignore=["pre_logits", "dist_token"])
    with pytest.raises(WeightsError, match=r"must be in the file\. pre is not"):
        timesformer_arrays(state, ignore=["pre"])


def test_the_size_is_that_of_the_file():
    found = size_of(read_and_named("timesformer.pyth"))
    assert found == TimesformerSize(num_classes=3, hidden=32, attention="divided", **TINY)
    vit = size_of(read_and_named("timesformer_vit.pth"), image_size=40, num_classes=2)
    assert (vit.num_frames, vit.image_size, vit.num_classes) == (8, 40, 2)
    for wrong, message in [
        ({"image_size": 20}, "multiple of the patch size 8. It is 20; give 16"),
        ({"num_frames": 0}, "num_frames must be 1 or more. It is 0"),
        ({"num_classes": -1}, "num_classes must be 1 or more"),
    ]:
        with pytest.raises(WeightsError, match=message):
            size_of(read_and_named("timesformer.pyth"), **wrong)


def read_and_named(name):
    return timesformer_arrays(read_arrays(FOLDER / name))
