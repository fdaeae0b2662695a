"""Mixtures of clips and of their targets, compared with NumPy's of what was drawn."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from experiments.training.finetuning import Mixup
from experiments.training.loop import Classifier, train_and_test

NUM_CLIPS, LENGTH = 6, 3
ROWS = np.random.default_rng(0).integers(0, 256, (NUM_CLIPS, LENGTH, 4, 5, 3)).astype(np.uint8)
TARGETS = np.eye(NUM_CLIPS, dtype=np.float32)


def end_to_end(rows, num_clips=NUM_CLIPS):
    return {
        "frames": tf.constant(rows.reshape(-1, *rows.shape[2:])),
        "num_frames": tf.fill([num_clips], LENGTH),
    }


def mixed(mixup, inputs=None):
    """In a compiled step, as in training."""
    batch = (end_to_end(ROWS) if inputs is None else inputs, tf.constant(TARGETS))
    spec = tf.nest.map_structure(lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), batch)
    return tf.function(mixup.__call__, input_signature=spec)(*batch)


@pytest.mark.parametrize("seed", range(8))
def test_frames_are_mixed_as_the_targets_are(seed):
    """Red when frames take another partner or weight than targets, frames of unlike clips are
    mixed, or fractions are cut off. With a class a clip, targets tell what was drawn."""
    inputs, targets = mixed(Mixup(0.4, seed=seed))
    shares = targets.numpy().astype(np.float64)  # (clip, clip)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    assert set(np.count_nonzero(shares, axis=1)) <= {1, 2}
    expected = np.tensordot(shares, ROWS.astype(np.float64), 1)
    found = inputs["frames"].numpy().reshape(ROWS.shape)
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 0.5 + 1e-4
    np.testing.assert_array_equal(inputs["num_frames"], [LENGTH] * NUM_CLIPS)


def test_one_weight_and_a_permutation_a_batch():
    """Red when each clip has a weight of its own, or one is the partner of two."""
    for seed in range(8):
        _, targets = mixed(Mixup(1.0, seed=seed))
        shares = targets.numpy()
        np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-5)
        own = np.diag(shares)[np.diag(shares) < 1]
        assert len(np.unique(own)) <= 1


@pytest.mark.parametrize("alpha", [0.005, 0.2, 1.0])
def test_weights_are_of_the_beta_distribution(alpha):
    """Red for a uniform weight, or one half where both gammas are too small for their kind of
    number. The variance is 1 / (4 (2 alpha + 1))."""
    mixup = Mixup(alpha, seed=0)
    rows = tf.constant([[0.0], [1.0]])  # the mixture of 0 with 1, or with itself
    step = tf.function(lambda: mixup(rows, rows)[0])
    weights = np.concatenate([step().numpy().ravel() for _ in range(1500)])
    assert np.isfinite(weights).all()
    drawn = 1 - weights.reshape(-1, 2)[:, 0]  # 1 where the partner is itself
    # half the partners are the other one
    expected = 0.5 * (1 / (4 * (2 * alpha + 1)) + 0.25) + 0.5
    assert np.mean(drawn**2) == pytest.approx(expected, abs=0.03)


def test_floats_and_plain_arrays_are_mixed_too():
    """Red when features are rounded, or only {"frames", "num_frames"} are understood."""
    rows = (ROWS[:, 0] / 255).astype(np.float32)  # (batch, ...)
    found, targets = mixed(Mixup(1.0, seed=1), tf.constant(rows))
    expected = np.tensordot(targets.numpy(), rows, 1)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    inputs = {"features": tf.constant(rows.reshape(-1, 3)), "num_frames": tf.fill([NUM_CLIPS], 20)}
    found, targets = mixed(Mixup(1.0, seed=1), inputs)
    expected = np.tensordot(targets.numpy(), rows, 1).reshape(-1, 3)
    np.testing.assert_allclose(found["features"].numpy(), expected, atol=1e-5)


def test_the_seed_decides():
    """Red when the global generator is used, or the state is not all there is."""
    one, again, other = (mixed(Mixup(1.0, seed=s))[1].numpy() for s in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    first, second = Mixup(1.0, seed=3), Mixup(1.0, seed=5)
    mixed(first)
    for variable, source in zip(second.variables, first.variables, strict=True):
        variable.assign(source)
    np.testing.assert_array_equal(mixed(second)[1], mixed(first)[1])


def linear():
    """{"frames", "num_frames"} of one frame a clip to three classes."""
    keras.utils.set_random_seed(0)
    frames = keras.Input((4, 5, 3), dtype="uint8", name="frames")
    lengths = keras.Input((), dtype="int32", name="num_frames")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(frames))
    outputs = keras.layers.Dense(3, "softmax")(x)
    return keras.Model({"frames": frames, "num_frames": lengths}, outputs)


def batches(epoch):
    rng = np.random.default_rng(epoch)
    frames = rng.integers(0, 256, (8, 4, 5, 3)).astype(np.uint8)
    inputs = {"frames": frames, "num_frames": np.ones(8, np.int32)}
    labels = np.arange(8, dtype=np.int32) % 3
    return tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(4)


def run(run_dir, *, epochs, stop_before=None, **options):
    def train_batches(epoch):
        if epoch == stop_before:
            raise KeyboardInterrupt
        return batches(epoch)

    run_dir.mkdir(exist_ok=True)
    trained = Classifier(linear(), keras.optimizers.Adam(1e-2), mixup=Mixup(0.5, seed=7))
    train_and_test(
        trained,
        train_batches,
        lambda: batches(99),
        lambda history: history,
        epochs=epochs,
        clips_per_epoch=16,
        run_dir=run_dir,
        **options,
    )
    return trained


def test_a_resumed_run_is_an_uninterrupted_one(tmp_path, monkeypatch):
    """Red when the generator's state is not in the checkpoint."""
    monkeypatch.setattr("experiments.training.checkpoints._SECONDS_BETWEEN_CHECKPOINTS", 0)
    whole = run(tmp_path / "whole", epochs=3)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", epochs=3, stop_before=2)
    resumed = run(tmp_path / "stopped", epochs=3, resume=True)
    for one, other in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.parametrize("seed", range(8))
def test_the_loss_is_of_the_mixed_targets(seed):
    """Red when a mixed clip is trained, or counted, as its own class, or the unmixed one is
    looked at."""
    model = linear()
    kernel, bias = model.get_weights()
    model.set_weights([5 * (kernel - kernel.mean(axis=0)), bias])  # it says several classes
    inputs, labels = next(iter(batches(0)))
    mixed_inputs, targets = Mixup(1.0, seed=seed)(inputs, tf.one_hot(labels, 3))
    logs = np.log(model(mixed_inputs).numpy())
    expected = -(targets.numpy() * logs).sum(axis=1).mean()
    truth = targets.numpy().argmax(axis=1)
    trained = Classifier(model, keras.optimizers.SGD(0.1), mixup=Mixup(1.0, seed=seed))
    loss, correct = trained.train_batch(inputs, labels)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert correct == (logs.argmax(axis=1) == truth).sum()


def test_a_timesformer_takes_it(small_model, clips):
    """Red when a model of plain clips cannot be trained with mixtures."""
    model = small_model(depth=1, attention="space")
    trained = Classifier(model, keras.optimizers.Adam(1e-2), mixup=Mixup(0.2, seed=0))
    losses = [trained.train_batch(*clips)[0] for _ in range(30)]
    assert np.mean(losses[-5:]) < 0.8 * losses[0]


def test_clips_of_unlike_lengths_are_refused():
    """Red when frames of different clips would be mixed in silence."""
    inputs = {"frames": tf.constant(ROWS[:, 0]), "num_frames": tf.constant([2, 4])}
    trained = Classifier(linear(), keras.optimizers.Adam(1e-2), mixup=Mixup(0.2, seed=0))
    with pytest.raises(ValueError, match="2 to 4 frames"):
        trained.train_batch(inputs, tf.constant([0, 1]))


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan")])
def test_an_alpha_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="Received"):
        Mixup(wrong, seed=0)
