"""Make timesformer.npz and four small checkpoints, by other people's code on random weights.

    pip install numpy torch torchvision transformers timm safetensors
    python tests/golden/make_timesformer.py

TimeSformers are transformers' (5.23.0), plain ViTs timm's (1.0.31) and torchvision's (0.29.2).
transformers takes no mean over the frames of "space"; here it is taken before the last
normalisation, as in the original. Weights of the .npz are not kept but made by a rule, `value`,
that the test repeats: one NumPy generator a key of the original's.

Arrays of timesformer.npz: `probe`, the rule's first four numbers for head.weight; for each format
of `hf`, `timm` and `torchvision` `<format>_keys` and `<format>_shapes` of the state dict
(num_entries, 4), filled up with -1, and `facebook_keys`, those of hf in the original's words; for
each kind of attention `<kind>_logits` (2, 7) of two clips; `<frames>x<size>_logits` of the divided
model on other clips, its embeddings resized; `timm_logits` and `torchvision_logits` (2, 7) of two
pictures; `num_parameters` of the published base, HR and L models with 400 classes.

Checkpoints of `TINY`, as their projects save them: timesformer.pyth, timesformer_hf.bin and
.safetensors, timesformer_vit.pth; their models' logits (1, 3) are `tiny_logits` and
`tiny_vit_logits` of the .npz.
"""

import re
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torchvision.models import VisionTransformer as TorchvisionTransformer
from transformers import TimesformerConfig, TimesformerForVideoClassification

HERE = Path(__file__).parent
SEED = 2021
KINDS = {"divided": "divided_space_time", "joint": "joint_space_time", "space": "space_only"}
SMALL = {"size": 32, "patch": 8, "frames": 4, "dim": 48, "depth": 3, "heads": 4, "classes": 7}
TINY = {"size": 16, "patch": 8, "frames": 2, "dim": 8, "depth": 2, "heads": 2, "classes": 3}
OTHERS = [(6, 48), (3, 24)]  # frames and size of clips that SMALL's embeddings are resized for
BASE = {"size": 224, "patch": 16, "frames": 8, "dim": 768, "depth": 12, "heads": 12, "classes": 400}
PUBLISHED = [BASE, BASE | {"size": 448, "frames": 16}, BASE | {"frames": 96}]
RENAMES = [  # transformers' and the original's
    (r"^timesformer\.", ""),
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^embeddings\.time_embeddings", "time_embed"),
    (r"^embeddings\.cls_token", "cls_token"),
    (r"^encoder\.layer", "blocks"),
    (r"temporal_attention\.attention\.qkv", "temporal_attn.qkv"),
    (r"temporal_attention\.output\.dense", "temporal_attn.proj"),
    (r"attention\.attention\.qkv", "attn.qkv"),
    (r"attention\.output\.dense", "attn.proj"),
    (r"temporal_layernorm", "temporal_norm1"),
    (r"temporal_dense", "temporal_fc"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"intermediate\.dense", "mlp.fc1"),
    (r"output\.dense", "mlp.fc2"),
    (r"^layernorm", "norm"),
    (r"^classifier", "head"),
]
TORCHVISION_RENAMES = [
    (r"^class_token", "cls_token"),
    (r"^conv_proj", "patch_embed.proj"),
    (r"^encoder\.pos_embedding", "pos_embed"),
    (r"^encoder\.layers\.encoder_layer_", "blocks."),
    (r"ln_([12])", r"norm\1"),
    (r"self_attention\.in_proj_", "attn.qkv."),
    (r"self_attention\.out_proj", "attn.proj"),
    (r"mlp\.0", "mlp.fc1"),
    (r"mlp\.3", "mlp.fc2"),
    (r"^encoder\.ln", "norm"),
    (r"^heads\.head", "head"),
]


def original(key, renames=RENAMES):
    """Translate a key into the original's names."""
    for theirs, its in renames:
        key = re.sub(theirs, its, key)
    return key


def value(key, shape):
    """Weight of one of the original's keys: scales about 1, the rest about 0, by the fan-in."""
    rng = np.random.default_rng([SEED, zlib.crc32(key.encode())])
    if "norm" in key and key.endswith("weight"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    scale = np.prod(shape[1:]) ** -0.5 if key.endswith("weight") else 0.5
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def clips(frames, size):
    """Random clips, uint8 (2, frames, size, size, 3)."""
    rng = np.random.default_rng([SEED, frames, size])
    return rng.integers(0, 256, (2, frames, size, size, 3), np.uint8)


def normalised(pixels):
    """Normalize pixels (..., height, width, 3) to torch's (..., 3, height, width)."""
    return torch.from_numpy((pixels.astype(np.float32) / 255 - 0.45) / 0.225).movedim(-1, -3)


def timesformer(config, kind="divided"):
    return TimesformerForVideoClassification(
        TimesformerConfig(
            image_size=config["size"],
            patch_size=config["patch"],
            num_frames=config["frames"],
            hidden_size=config["dim"],
            num_hidden_layers=config["depth"],
            num_attention_heads=config["heads"],
            intermediate_size=4 * config["dim"],
            num_labels=config["classes"],
            attention_type=KINDS[kind],
        )
    ).eval()


def timm_vit(config):
    return VisionTransformer(
        img_size=config["size"],
        patch_size=config["patch"],
        embed_dim=config["dim"],
        depth=config["depth"],
        num_heads=config["heads"],
        num_classes=config["classes"],
    ).eval()


def torchvision_vit(config):
    return TorchvisionTransformer(
        config["size"],
        config["patch"],
        config["depth"],
        config["heads"],
        config["dim"],
        4 * config["dim"],
        num_classes=config["classes"],
    ).eval()


def filled(model, renames=RENAMES):
    """Give a model the weights of `value`."""
    state = model.state_dict()
    made = {key: value(original(key, renames), tuple(t.shape)) for key, t in state.items()}
    model.load_state_dict({key: torch.from_numpy(array) for key, array in made.items()})
    return model


def layout(model, name):
    state = model.state_dict()
    shapes = [[*t.shape, *[-1] * (4 - t.ndim)] for t in state.values()]
    return {f"{name}_keys": np.array(list(state)), f"{name}_shapes": np.array(shapes, np.int32)}


@torch.no_grad()
def logits(model, pixels):
    """Logits of a TimeSformer, also for "space" attention."""
    if model.config.attention_type != "space_only":
        return model(normalised(pixels)).logits.numpy()
    encoder = model.timesformer
    hidden = encoder.encoder(encoder.embeddings(normalised(pixels))).last_hidden_state
    hidden = hidden.unflatten(0, pixels.shape[:2]).mean(1)
    return model.classifier(encoder.layernorm(hidden)[:, 0]).numpy()


@torch.no_grad()
def small():
    arrays = {"probe": value("head.weight", (7, 48)).ravel()[:4]}
    for kind in KINDS:
        model = filled(timesformer(SMALL, kind))
        arrays[f"{kind}_logits"] = logits(model, clips(4, 32))
    model = filled(timesformer(SMALL))
    arrays |= layout(model, "hf")
    arrays["facebook_keys"] = np.array([f"model.{original(key)}" for key in model.state_dict()])
    for frames, size in OTHERS:
        model.config.num_frames, model.config.image_size = frames, size
        arrays[f"{frames}x{size}_logits"] = logits(model, clips(frames, size))
    images = normalised(clips(1, 32)[:, 0])
    for name, model in {
        "timm": filled(timm_vit(SMALL)),
        "torchvision": filled(torchvision_vit(SMALL), TORCHVISION_RENAMES),
    }.items():
        arrays |= layout(model, name) | {f"{name}_logits": model(images).numpy()}
    return arrays


@torch.no_grad()
def tiny():
    """Write the small checkpoints. Returns their logits."""
    model = filled(timesformer(TINY))
    state = model.state_dict()
    torch.save(state, HERE / "timesformer_hf.bin")
    save_file(state, HERE / "timesformer_hf.safetensors", metadata={"format": "pt"})
    named = OrderedDict((f"model.{original(key)}", tensor) for key, tensor in state.items())
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    checkpoint = {"epoch": 14, "model_state": named, "optimizer_state": optimizer, "cfg": "A: 1"}
    torch.save(checkpoint, HERE / "timesformer.pyth")
    vit = filled(timm_vit(TINY))
    torch.save({"model": vit.state_dict()}, HERE / "timesformer_vit.pth")
    image = normalised(clips(1, 16)[:1, 0])
    return {
        "tiny_logits": logits(model, clips(2, 16)[:1]),
        "tiny_vit_logits": vit(image).numpy(),
    }


def num_parameters(config):
    with torch.device("meta"):
        return sum(weight.numel() for weight in timesformer(config).parameters())


def main():
    arrays = small() | tiny()
    arrays["num_parameters"] = np.array([num_parameters(config) for config in PUBLISHED])
    np.savez_compressed(HERE / "timesformer.npz", **arrays)


if __name__ == "__main__":
    main()
