"""TimeSformers against transformers'; golden/make_timesformer.py says how its arrays were made."""

import importlib.util
import os
import subprocess
import sys
from itertools import product
from math import erf
from pathlib import Path

import keras
import numpy as np
import pytest
from layer_check import check_config
from timesformer_golden import GOLDEN, SMALL, check, clips, logits, torch_state, value

from tests.processes import PATIENCE_SECONDS
from ttrnn.models import build_timesformer
from ttrnn.models.space_time import SelfAttention, SpaceTimeBlock, SpaceTimeEmbedding, normal
from ttrnn.models.timesformer import ClassToken
from weights.assign import assign_arrays, model_arrays
from weights.timesformer import TimesformerSize, fit_timesformer, timesformer_arrays

ROOT = Path(__file__).parents[3]
KINDS = ("divided", "joint", "space")


def state_of(kind):
    """What the original's state_dict() would give, of the attention's kind."""
    needs = {"time_embed": ("divided", "joint"), "temporal_": ("divided",)}
    return {
        key: array
        for key, array in torch_state().items()
        if all(kind in kinds for word, kinds in needs.items() if word in key)
    }


def filled(kind="divided", **options):
    """A small model with the rule's weights."""
    model = build_timesformer(7, heads=4, **SMALL | {"attention": kind, **options})
    shapes = {name: array.shape for name, array in model_arrays(model).items()}
    arrays, _ = fit_timesformer(timesformer_arrays(state_of(kind)), shapes)
    assign_arrays(model, arrays)
    return model


@pytest.fixture(scope="module")
def models():
    return {kind: filled(kind) for kind in KINDS}


def numpy(tensor):
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def test_the_rule_still_gives_the_same_weights():
    """Red when NumPy's generator changes: then make the golden arrays anew."""
    np.testing.assert_array_equal(value("head.weight", (7, 48)).flat[:4], GOLDEN["probe"])


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_transformers(kind, models):
    """Red for another order of q, k and v or of tokens, an approximate GELU, a class token that
    gets time_embed or another than the mean over frames, a norm or a residual in another place."""
    expected = GOLDEN[f"{kind}_logits"]
    assert np.ptp(expected, axis=0).max() > 1000 * 1e-5 * np.abs(expected).max()
    check(logits(models[kind], clips(4, 32)), expected)


@pytest.mark.parametrize(("num_frames", "size"), [(6, 48), (3, 24)])
def test_resized_embeddings_are_transformers(num_frames, size):
    """Red for a resizing by the list of patches, by rounding, or by interpolation."""
    model = filled(num_frames=num_frames, image_size=size)
    check(logits(model, clips(num_frames, size)), GOLDEN[f"{num_frames}x{size}_logits"])


def test_probabilities_are_of_the_logits(models):
    expected = np.exp(GOLDEN["divided_logits"])
    expected /= expected.sum(axis=1, keepdims=True)
    check(numpy(models["divided"](clips(4, 32))), expected)


def oracle_attention(x, qkv, qkv_bias, proj, proj_bias, heads):
    """Of one group of tokens (L, D), head by head, token by token."""
    y = np.empty_like(x)
    q, k, v = np.split(x @ qkv + qkv_bias, 3, axis=1)
    for part in np.split(np.arange(x.shape[1]), heads):
        for token in range(len(x)):
            scores = np.exp(k[:, part] @ q[token, part] / np.sqrt(len(part)))
            y[token, part] = scores @ v[:, part] / scores.sum()
    return y @ proj + proj_bias


def oracle_norm(x, gamma, beta):
    variance = x.var(axis=-1, keepdims=True)
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(variance + 1e-6) * gamma + beta


def oracle_divided(x, w, num_frames, heads):
    """A block over one clip's tokens (1 + N*T, D), from the paper: a patch, then a frame a time."""

    def attention(name, tokens, norm):
        weights = [w[f"{name}/{part}"] for part in ("qkv/kernel", "qkv/bias")]
        weights += [w[f"{name}/{part}"] for part in ("proj/kernel", "proj/bias")]
        normed = oracle_norm(tokens, w[f"{norm}/gamma"], w[f"{norm}/beta"])
        return oracle_attention(normed, *weights, heads)

    x = x.copy()
    place = 1 + np.arange(len(x) - 1).reshape(-1, num_frames)  # of patch n in frame t
    for tube in place:
        change = attention("temporal_attn", x[tube], "temporal_norm1")
        x[tube] += change @ w["temporal_fc/kernel"] + w["temporal_fc/bias"]
    after = x.copy()
    for frame in place.T:
        tokens = np.concatenate([[0], frame])
        change = attention("attn", x[tokens], "norm1")
        after[frame] += change[1:]
        after[0] += change[0] / num_frames
    hidden = oracle_norm(after, w["norm2/gamma"], w["norm2/beta"]) @ w["fc1/kernel"] + w["fc1/bias"]
    hidden = hidden * (1 + np.vectorize(erf)(hidden / np.sqrt(2))) / 2
    return after + hidden @ w["fc2/kernel"] + w["fc2/bias"]


def random_block(x, **options):
    """A divided block, each weight random, and the weights by name."""
    block = SpaceTimeBlock(2, 10, num_frames=3, **options)
    block.build(x.shape)
    rng = np.random.default_rng(4)
    weights = {}
    for variable in block.weights:
        name = variable.path.removeprefix(f"{block.name}/")
        weights[name] = rng.standard_normal(variable.shape) / np.sqrt(variable.shape[0])
        variable.assign(weights[name])
    return block, weights


@pytest.mark.parametrize("size", [1, 1e-3])
def test_a_divided_block_is_the_oracles(size):
    """Red for another epsilon: small values show it."""
    x = size * np.random.default_rng(3).standard_normal((2, 1, 1 + 4 * 3, 6))
    block, weights = random_block(x)
    expected = np.stack([oracle_divided(clip, weights, 3, 2) for clip in x[:, 0]])
    check(numpy(block(x))[:, 0], expected, 3e-6)


def test_what_is_computed_anew_has_the_same_gradient(models):
    """Red if backpropagation in training, where softmax and GELU are not kept, is another."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("gradients are asked for as TensorFlow does")
    import tensorflow as tf

    model = filled(drop_path=0.0)

    def gradients(training):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.math.log(model(clips(4, 32), training=training))[:, 2])
        return tape.gradient(loss, model.trainable_variables)

    pairs = zip(gradients(True), tf.function(gradients)(False), strict=True)
    for (kept, anew), weight in zip(pairs, model.trainable_variables, strict=True):
        assert np.abs(kept).max() > 0, weight.path
        check(kept, numpy(anew), 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_shapes_are_those_of_the_checkpoint(kind, models):
    """Red for a name off the rule, or a layer that a kind has too much; sizes are as known."""
    expected = {name: array.shape for name, array in timesformer_arrays(state_of(kind)).items()}
    found = {name: array.shape for name, array in model_arrays(models[kind]).items()}
    assert found == expected
    size = TimesformerSize(num_classes=7, hidden=192, attention=kind, **SMALL)
    assert size.shapes() == expected


def test_the_published_sizes():
    """Base, HR and L have as many weights as transformers' (121.57 million the first)."""
    size = {"num_classes": 400, "patch_size": 16, "dim": 768, "depth": 12, "hidden": 3072}
    for expected, num_frames, image_size in zip(
        GOLDEN["num_parameters"], (8, 16, 96), (224, 448, 224), strict=True
    ):
        shapes = TimesformerSize(
            num_frames=num_frames, image_size=image_size, attention="divided", **size
        ).shapes()
        assert sum(np.prod(shape) for shape in shapes.values()) == expected
    assert GOLDEN["num_parameters"][0] == 121_566_352


@pytest.mark.slow
def test_the_base_model_is_that_large():
    assert build_timesformer(400).count_params() == 121_566_352


def test_bfloat16_is_close(models):
    model = filled(dtype="mixed_bfloat16")
    assert model.get_layer("blocks_2").compute_dtype == "bfloat16"
    assert keras.backend.standardize_dtype(model.output.dtype) == "float32"
    assert keras.backend.standardize_dtype(model.get_layer("head").output.dtype) == "float32"
    check(logits(model, clips(4, 32)), GOLDEN["divided_logits"], 0.02)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("mixed_bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")],
)
def test_the_softmax_of_attention_is_float32(monkeypatch, policy, expected):
    """Red for one in bfloat16, whose sums some backends take in bfloat16 too."""
    seen, softmax = [], keras.ops.softmax

    def watched(x, axis):
        seen.append(keras.backend.standardize_dtype(x.dtype))
        return softmax(x, axis)

    monkeypatch.setattr(keras.ops, "softmax", watched)
    SelfAttention(2, dtype=policy)(np.ones((1, 1, 3, 4)))
    assert set(seen) == {expected}


def test_normalisation_in_the_model(models):
    """Red for pixels left at 0 to 255, or another mean; uint8 and float are the same."""
    by_hand = (clips(4, 32) / 255 - 0.45) / 0.225
    model = filled(normalize=False)
    check(logits(model, by_hand.astype("float32")), GOLDEN["divided_logits"])
    assert models["divided"].input.dtype == "uint8"
    check(logits(models["divided"], clips(4, 32).astype("float32")), GOLDEN["divided_logits"])


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(kind, models, tmp_path):
    """Red for an argument that get_config forgets; safe mode is Keras's default."""
    models[kind].save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert again.name == "timesformer"
    check(numpy(again(clips(4, 32))), numpy(models[kind](clips(4, 32))), 1e-6)


def test_configs():
    check_config(SelfAttention, {"heads": 3})
    check_config(ClassToken, {})
    options = {"attention": "joint", "dropout": 0.25, "seed": 5}
    check_config(
        SpaceTimeEmbedding, {"features": 8, "patch_size": 4, "position_stddev": 0.5, **options}
    )
    block = {"heads": 2, "hidden": 5, "num_frames": 3, "drop_path": 0.5}
    check_config(SpaceTimeBlock, {**block, **options})


@pytest.mark.slow  # clips/export/test_clip_graphs.py exports a divided one
def test_onnx(models):
    """Red when a GELU or an attention is lost on the way, or the batch is fixed."""
    from onnxruntime import InferenceSession

    from experiments.models.onnx_export import to_onnx

    session = InferenceSession(to_onnx(models["divided"]).SerializeToString())
    for frames in (clips(4, 32), clips(4, 32)[:1]):
        (found,) = session.run(["output"], {"input": frames})
        check(found, numpy(models["divided"](frames)), 1e-4)


def test_how_weights_start():
    """Red for blocks that start alike, or a temporal_fc that changes a clip from the start."""
    model = build_timesformer(5, heads=4, **SMALL)
    arrays = model_arrays(model)
    for name in ("blocks_0/attn/qkv/kernel", "blocks_1/fc2/kernel", "embed/pos_embed"):
        assert np.std(arrays[name]) == pytest.approx(0.02 * (768 / 48) ** 0.5, rel=0.1), name
    assert normal(768).stddev == 0.02  # the original's
    embed = build_timesformer(5, heads=4, position_stddev=0.5, **SMALL).get_layer("embed")
    for embedding in (embed.pos_embed, embed.time_embed):
        assert np.std(numpy(embedding)) == pytest.approx(0.5, rel=0.2)
    twins = ("blocks_0/attn/qkv/kernel", "blocks_1/attn/qkv/kernel")
    assert not np.array_equal(*(arrays[name] for name in twins))
    frames = clips(4, 32)
    check(logits(model, frames[:, ::-1]), logits(model, frames))
    for block, part in product(range(3), ("kernel", "bias")):
        assert not arrays[f"blocks_{block}/temporal_fc/{part}"].any()
    model.get_layer("blocks_1").temporal_fc.kernel.assign(np.eye(48))
    model.get_layer("embed").time_embed.assign(arrays["embed/pos_embed"][:, :4])
    assert np.abs(logits(model, frames[:, ::-1]) - logits(model, frames)).max() > 1e-4


def test_stochastic_depth_grows_and_follows_its_seed():
    twins = [filled(drop_path=0.4, dropout=0.1, seed=seed) for seed in (1, 1, 2)]
    rates = [twins[0].get_layer(f"blocks_{block}").drop_path for block in range(3)]
    np.testing.assert_allclose(rates, [0, 0.2, 0.4])
    runs = [[logits(model, clips(4, 32), training=True) for _ in range(2)] for model in twins]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2], atol=1e-3)
    assert not np.allclose(*runs[0], atol=1e-3)
    check(logits(twins[0], clips(4, 32)), GOLDEN["divided_logits"])


def test_a_group_of_tokens_is_dropped_as_one():
    """Red for a mask of single values, or one for all groups; what is left is scaled up."""
    block = SpaceTimeBlock(2, 5, attention="space", drop_path=0.5, seed=1)
    kept = numpy(block.drop_group(np.ones((6, 9, 4, 3), "float32"), training=True))
    assert set(kept.flat) == {0.0, 2.0}
    assert (kept == kept[:, :, :1, :1]).all()
    assert 0.2 < (kept[:, :, 0, 0] == 0).mean() < 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 5}, "patch_size must divide height and width .* 5, frames of 32 x 32"),
        ({"heads": 5}, "heads must divide the features. Received 5 heads, 48"),
        ({"attention": "both"}, "attention must be one of divided, space, joint. Received 'both'"),
    ],
)
def test_what_cannot_be_is_told(options, message):
    with pytest.raises(ValueError, match=message):
        build_timesformer(2, **{"heads": 4, **SMALL, **options})


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend):
    """The tests of values again, in a process of its own. Red for a TensorFlow call."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        pytest.skip("it is this process's")
    names = ("logits", "resized", "oracles", "bfloat16_is_close", "saved", "stochastic", "start")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", __file__, "-k", " or ".join(names)],
        env={**os.environ, "KERAS_BACKEND": backend},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stdout[-3000:]
