"""Names and layouts of a TimeSformer's weights, or a plain ViT's, as four projects have them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import numpy as np

from weights.errors import WeightsError
from weights.torch_layers import CONVOLUTION_2D, DENSE, NORM, Place, in_layer, placed
from weights.torch_reader.pickle_machine import shown

# Ours: the original's and timm's word, transformers', torchvision's.
_ARRAYS = {
    "cls_token": ("cls_token", "embeddings.cls_token", "class_token"),
    "pos_embed": ("pos_embed", "embeddings.position_embeddings", "encoder.pos_embedding"),
    "time_embed": ("time_embed", "embeddings.time_embeddings"),
}
_LAYERS = {
    "embed/proj": ("patch_embed.proj", "embeddings.patch_embeddings.projection", "conv_proj"),
    "norm": ("norm", "layernorm", "encoder.ln"),
    "head": ("head", "classifier", "heads.head"),
}
_LAYERS_OF_A_BLOCK = {
    "temporal_norm1": ("temporal_norm1", "temporal_layernorm"),
    "temporal_attn/qkv": ("temporal_attn.qkv", "temporal_attention.attention.qkv"),
    "temporal_attn/proj": ("temporal_attn.proj", "temporal_attention.output.dense"),
    "temporal_fc": ("temporal_fc", "temporal_dense"),
    "norm1": ("norm1", "layernorm_before", "ln_1"),
    "attn/qkv": ("attn.qkv", "attention.attention.qkv", "self_attention.in_proj"),
    "attn/proj": ("attn.proj", "attention.output.dense", "self_attention.out_proj"),
    "norm2": ("norm2", "layernorm_after", "ln_2"),
    "fc1": ("mlp.fc1", "intermediate.dense", "mlp.0", "mlp.linear_1"),
    "fc2": ("mlp.fc2", "output.dense", "mlp.3", "mlp.linear_2"),
}
_ARRAY = re.compile(r"(?:model\.|timesformer\.)?(.+)")
_LAYER = re.compile(
    r"(?:model\.|timesformer\.)?"
    r"(?:(?:blocks\.|encoder\.layer\.|encoder\.layers\.encoder_layer_)([0-9]{1,4})\.)?"
    r"(.+)[._](weight|bias)"
)
_NORM = {word: NORM[word] for word in ("weight", "bias")}
_EMBEDDING = (0, 1, 2)  # axes


def timesformer_arrays(
    state: Mapping[str, np.ndarray], *, ignore: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Arrays by layer/variable from a state dict.

    blocks.0.attn.qkv.weight becomes blocks_0/attn/qkv/kernel, pos_embed embed/pos_embed,
    blocks.0.mlp.fc1.bias blocks_0/fc1/bias. What comes out is for `fit_timesformer`.

    Args:
        state: arrays by the keys of the original TimeSformer, of transformers'
            TimesformerForVideoClassification, of timm's or DeiT's ViT, or of torchvision's, with or
            without "model." or DataParallel's "module." before them; or by ours.
        ignore: keys, or what keys start with up to a dot, that are left out.

    Returns:
        Views of the given arrays, axes in Keras's order.

    Raises:
        WeightsError: for a key that none of these has, two keys for one weight, an array with
            another number of axes than such a weight has, or something to ignore that is not there.
    """
    state = _without(state, ignore)
    if "embed/cls_token" in state:
        return dict(state)
    return placed(state, _place, model="a TimeSformer or ViT, such as blocks.0.attn.qkv.weight")


def _place(key: str) -> Place | None:
    if found := _ARRAY.fullmatch(key):
        for ours, words in _ARRAYS.items():
            if found[1] in words:
                return f"embed/{ours}", _EMBEDDING
    if not (found := _LAYER.fullmatch(key)):
        return None
    block, layer, word = found.groups()
    for ours, words in (_LAYERS if block is None else _LAYERS_OF_A_BLOCK).items():
        if layer in words:
            name = ours if block is None else f"blocks_{int(block)}/{ours}"
            rules = CONVOLUTION_2D if ours == "embed/proj" else _NORM if "norm" in ours else DENSE
            return in_layer(name, rules, word)
    return None


def _without(state: Mapping[str, np.ndarray], ignore: Collection[str]) -> dict[str, np.ndarray]:
    for word in ignore:
        kept = {k: a for k, a in state.items() if k != word and not k.startswith(f"{word}.")}
        if len(kept) == len(state):
            raise WeightsError(f"What is to be ignored must be in the file. {shown(word)} is not.")
        state = kept
    return dict(state)
