"""From JPEGs to scores by the recipe `original`, against the original's own code.

golden/make_ucf101_original.py says how its arrays were made.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import ucf101_golden
from PIL import Image

from experiments.ucf101.recipes import Recipe, recipe_for
from preprocess.batches.view_batches import PixelViews, ViewBatches
from preprocess.extraction.extract import extract
from preprocess.shards.reader import Shards, open_shards
from ttrnn.models import build_conv3d, build_resnet, build_resnet_crnn
from weights.assign import assign_arrays
from weights.resnet import resnet_arrays
from weights.ucf101_models import conv3d_arrays, resnet_crnn_arrays

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "ucf101_original.npz")
LENGTHS = (50, 15)
GAIN = 0.2


def images() -> list[list[bytes]]:
    """The files of both clips."""
    stops = np.cumsum(GOLDEN["jpeg_sizes"])
    files = [part.tobytes() for part in np.split(GOLDEN["jpegs"], stops[:-1])]
    return [files[: LENGTHS[0]], files[LENGTHS[0] :]]


def extracted(root: Path, recipe: Recipe, *, step: int, max_frames: int | None = None) -> Shards:
    """Both clips, with frames 1, 1 + step, ...; those between are copies of the first."""
    for number, files in enumerate(images(), 1):
        folder = root / "videos" / f"v_Archery_g{number:02}_c01"
        folder.mkdir(parents=True)
        for place in range(step * (len(files[:max_frames]) - 1) + 1):
            kept, rest = divmod(place, step)
            (folder / f"frame{place + 1:06}.jpg").write_bytes(files[0 if rest else kept])
    extract(root / "videos", root / "shards", recipe.settings(), jobs=1)
    return open_shards(root / "shards")


def scores(model: Any, shards: Shards, recipe: Recipe, *, varlen: bool = False) -> np.ndarray:
    """What goes into the softmax, of each clip, by the batches that are tested."""
    source = PixelViews(shards, recipe.crops, inputs=recipe.inputs)
    batches = ViewBatches(source, recipe.choice(varlen=varlen), batch_size=1, seed=0)
    order, stream = batches.by_length(range(len(shards)))
    until = keras.Model(model.inputs, model.get_layer("probabilities").input)
    found = np.concatenate(
        [until([inputs[tensor.name] for tensor in model.inputs]) for inputs, _ in stream]
    )
    return found[np.argsort(order)]


def check(found: np.ndarray, name: str, tolerance: float = 1e-4) -> None:
    wanted = GOLDEN[name]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def test_jpegs_are_read_alike() -> None:
    """What the rest depends on: OpenCV's decoder gives Pillow's pixels."""
    for content in images()[1]:
        ours = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        np.testing.assert_array_equal(ours, np.array(Image.open(io.BytesIO(content))))


def test_conv3d_says_what_the_original_says(tmp_path: Path) -> None:
    """Red for a resize that is not antialiased or comes before the grey, or for .485 and .229."""
    recipe = recipe_for("original", "conv3d", varlen=False)
    recipe = replace(recipe, frame_size=(80, 64), crop_size=(80, 64), num_frames=15)
    shards = extracted(tmp_path, recipe, step=1, max_frames=15)
    state = {
        key: ucf101_golden.value("conv3d." + key, shape)
        for key, shape in ucf101_golden.published_state("conv3d", lambda key, shape: shape).items()
        if key not in ("fc1.weight", "fc3.weight", "fc3.bias")
    }
    sizes = {"fc1.weight": (256, 48 * 2 * 14 * 18), "fc3.weight": (5, 256), "fc3.bias": (5,)}
    state |= {key: ucf101_golden.value("conv3d." + key, shape) for key, shape in sizes.items()}
    model = build_conv3d(
        5,
        num_frames=15,
        height=64,
        width=80,
        channels=recipe.channels,
        normalization=recipe.normalization,
    )
    assign_arrays(model, conv3d_arrays(state))
    check(scores(model, shards, recipe), "conv3d_logits")


def test_crnn_says_what_the_original_says(tmp_path: Path) -> None:
    recipe = recipe_for("original", "crnn", varlen=False)
    recipe = replace(recipe, frame_size=(80, 64), crop_size=(80, 64), num_frames=15)
    shards = extracted(tmp_path, recipe, step=1, max_frames=15)
    check(scores(ucf101_golden.small_crnn(), shards, recipe), "crnn_logits")


@pytest.mark.parametrize("number", range(len(LENGTHS)))
def test_a_small_network_reads_clips_of_their_own_length(tmp_path: Path, number: int) -> None:
    """Every second frame to the last, as if the clip had been read by hand.

    Red for frames 2, 4, ..., padding that is read, or the state of the wrong frame.
    """
    recipe = recipe_for("original", "crnn", varlen=True)
    recipe = replace(recipe, frame_size=(80, 64), crop_size=(80, 64))
    shards = extracted(tmp_path, recipe, step=2)
    assert shards.num_frames.tolist() == list(LENGTHS)
    model = ucf101_golden.small_crnn()
    frames = [
        np.array(Image.open(io.BytesIO(file)).resize((80, 64), Image.Resampling.BILINEAR))
        for file in images()[number]
    ]
    clip = {"frames": np.stack(frames), "num_frames": np.array([LENGTHS[number]], np.int32)}
    wanted = np.asarray(ucf101_golden.logits(model, clip))
    found = scores(model, shards, recipe, varlen=True)[number]
    np.testing.assert_allclose(found, wanted[0], rtol=0, atol=1e-4 * np.abs(wanted).max())


@pytest.fixture(scope="module")
def resnet_152() -> dict[str, np.ndarray]:
    """The encoder's state at the original's sizes, with the script's gain."""
    state = ucf101_golden.published_state(
        "resnet_encoder", lambda key, shape: ucf101_golden.value("resnet_crnn." + key, shape)
    )
    return {key: GAIN * a if "bn3.weight" in key else a for key, a in state.items()}


@pytest.mark.slow
def test_clips_of_their_own_length_say_what_the_original_says(
    tmp_path: Path, resnet_152: dict[str, np.ndarray]
) -> None:
    """Through ResNet-152, every second frame. Red for frames 2, 4, ..., padding that is read, or
    the state of the wrong frame. The original takes all frames of the video for a clip's length,
    and reads the state after the longest clip: so its answer to the short clip in a batch with the
    long one, `varlen_published_logits`, is not repeated."""
    recipe = recipe_for("original", "resnet-crnn", varlen=True)
    recipe = replace(recipe, frame_size=(64, 64), crop_size=(64, 64))
    shards = extracted(tmp_path, recipe, step=2)
    assert shards.num_frames.tolist() == list(LENGTHS)
    model = build_resnet_crnn(5, depth=152, height=64, width=64)
    decoder = ucf101_golden.small_state("decoder", "decoder.")
    assign_arrays(model, resnet_crnn_arrays(resnet_152, decoder))
    found = scores(model, shards, recipe, varlen=True)
    check(found, "varlen_logits")
    published = GOLDEN["varlen_published_logits"]
    np.testing.assert_allclose(published[0], found[0], atol=2e-5)
    assert np.abs(published[1] - found[1]).max() > 0.05


@pytest.mark.slow
def test_resnet_152_sees_what_torchs_does(resnet_152: dict[str, np.ndarray]) -> None:
    """Alone, on two pictures scaled to 64 x 64 by Pillow."""
    names = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
    state = {}
    for key, array in resnet_152.items():
        first, _, rest = key.partition(".")
        if first == "resnet":
            number, _, word = rest.partition(".")
            state[f"{names[number]}.{word}"] = array
    model = build_resnet(152, None, input_shape=(64, 64, 3), normalize=True)
    assign_arrays(model, resnet_arrays(state))
    frames = [
        np.array(Image.open(io.BytesIO(files[0])).resize((64, 64), Image.Resampling.BILINEAR))
        for files in images()
    ]
    check(np.asarray(model(np.stack(frames))), "resnet152_features")
