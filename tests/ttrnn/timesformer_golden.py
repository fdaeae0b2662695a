"""Golden arrays of golden/make_timesformer.py, and its rules for weights and clips."""

import zlib
from pathlib import Path

import keras
import numpy as np

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = np.load(FOLDER / "timesformer.npz")
SMALL = {"num_frames": 4, "image_size": 32, "patch_size": 8, "dim": 48, "depth": 3}
TINY = {"num_frames": 2, "image_size": 16, "patch_size": 8, "dim": 8, "depth": 2}  # of the files
SEED = 2021
TORCHVISION_RENAMES = {  # for the original's
    "class_token": "cls_token",
    "conv_proj": "patch_embed.proj",
    "encoder.pos_embedding": "pos_embed",
    "encoder.layers.encoder_layer_": "blocks.",
    "ln_": "norm",
    "self_attention.in_proj_": "attn.qkv.",
    "self_attention.out_proj": "attn.proj",
    "mlp.0": "mlp.fc1",
    "mlp.3": "mlp.fc2",
    "encoder.ln": "norm",
    "heads.head": "head",
}


def value(key, shape):
    """Weight of a key, as in make_timesformer.py."""
    rng = np.random.default_rng([SEED, zlib.crc32(key.encode())])
    if "norm" in key and key.endswith("weight"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    scale = np.prod(shape[1:]) ** -0.5 if key.endswith("weight") else 0.5
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def clips(num_frames, size):
    """Random clips, as in make_timesformer.py."""
    rng = np.random.default_rng([SEED, num_frames, size])
    return rng.integers(0, 256, (2, num_frames, size, size, 3), np.uint8)


def torch_state(project="facebook"):
    """State dict of SMALL with the keys of a project: facebook, hf, timm or torchvision."""
    layout = "hf" if project == "facebook" else project
    originals = GOLDEN["facebook_keys" if layout == "hf" else f"{layout}_keys"]
    state = {}
    for key, original, shape in zip(
        GOLDEN[f"{project}_keys"], originals, GOLDEN[f"{layout}_shapes"], strict=True
    ):
        original = str(original).removeprefix("model.")
        if project == "torchvision":
            for theirs, its in TORCHVISION_RENAMES.items():
                original = original.replace(theirs, its)
        state[str(key)] = value(original, tuple(shape[shape >= 0]))
    return state


def logits(model, frames, training=False):
    inner = keras.Model(model.input, model.get_layer("head").output)
    return keras.ops.convert_to_numpy(inner(frames, training=training))


def check(found, expected, tolerance=1e-5):
    """Check that differences are small compared with the largest value."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
