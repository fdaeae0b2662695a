"""The training loop: a resumed run ends with the numbers of an undisturbed one."""

import math
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import ttrnn
from experiments.runs.run import RunError
from experiments.training.history import Epoch, History
from experiments.training.loop import Classifier, train_and_test
from experiments.training.optimizers import build_optimizer
from experiments.training.recipes import PAPER, TUNED, on_features
from experiments.training.recurrent_models import Formats, build_head, build_model
from preprocess import open_shards
from preprocess.batches.pipeline import ClipBatches


@pytest.fixture(scope="module")
def batches(small_shards):
    return ClipBatches(open_shards(small_shards), batch_size=8, maxlen=10, stride=4, seed=0)


def classifier(recipe=TUNED, seed=0):
    keras.utils.set_random_seed(seed)
    model = build_model(
        recipe, (12, 16, 3), 11, cell="gru", formats=Formats(), policy="float32", seed=seed
    )
    return Classifier(model, build_optimizer(recipe, 12), label_smoothing=recipe.label_smoothing)


def run(batches, run_dir, *, epochs, on_epoch=lambda epoch: None, **options):
    run_dir.mkdir(exist_ok=True)

    def train_batches(epoch):
        on_epoch(epoch)
        return batches.shuffled(np.arange(30), epoch)

    return train_and_test(
        classifier(),
        train_batches,
        lambda: batches.by_length(np.arange(30, 40))[1],
        lambda history: history,
        epochs=epochs,
        clips_per_epoch=40,
        run_dir=run_dir,
        **options,
    )


@pytest.fixture(scope="module")
def one_epoch(batches, tmp_path_factory):
    """Folder and history of a run of one epoch; copy it to change it."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    return folder, run(batches, folder, epochs=1)


@pytest.fixture(scope="module")
def three_epochs(batches, tmp_path_factory):
    """Folder and history of an undisturbed run of three epochs."""
    folder = tmp_path_factory.mktemp("runs") / "three"
    return folder, run(batches, folder, epochs=3)


def without_times(path):
    timed = ("seconds", "frames_per_second", "data_wait_share", "elapsed_seconds")
    rows = [line.split(",") for line in path.read_text().splitlines()]
    keep = [i for i, name in enumerate(rows[0]) if name not in timed]
    return [[row[i] for i in keep] for row in rows]


def weights(path):
    return keras.models.load_model(path).get_weights()


def test_a_stopped_run_resumes_to_the_same_numbers(batches, three_epochs, tmp_path):
    """Red when the optimizer, a dropout generator or the order of clips starts afresh."""
    whole, _ = three_epochs

    def stop(epoch):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(batches, tmp_path / "stopped", epochs=3, on_epoch=stop)
    assert len(without_times(tmp_path / "stopped" / "metrics.csv")) == 3  # header, two epochs
    run(batches, tmp_path / "stopped", epochs=3, resume=True)
    assert without_times(tmp_path / "stopped" / "metrics.csv") == without_times(
        whole / "metrics.csv"
    )
    for name in ("best.keras", "last.keras"):
        for one, other in zip(
            weights(whole / name), weights(tmp_path / "stopped" / name), strict=True
        ):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("damage", ["cut", "emptied", "of another model", "pickled"])
def test_a_damaged_checkpoint_is_told(batches, one_epoch, tmp_path, damage):
    """Red when resuming ends in a traceback, or goes on with half of the variables."""
    shutil.copytree(one_epoch[0], tmp_path, dirs_exist_ok=True)
    path = tmp_path / "checkpoint.npz"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "pickled":
        np.savez(path, epochs=np.array([{}], object), variable_0=np.array([{}], object))
    else:
        np.savez(path, epochs=np.zeros((1, 11)), variable_0=np.zeros((3, 3)))
    with pytest.raises(RunError, match=r"checkpoint\.npz is damaged, or of another model.*Remove"):
        run(batches, tmp_path, epochs=2, resume=True)


def test_the_best_model_is_the_best_epochs(batches, three_epochs):
    """Red when best.keras is overwritten by every epoch, or chosen by the training part."""
    folder, history = three_epochs
    model = Classifier(keras.models.load_model(folder / "best.keras"))
    probabilities, labels = model.predict(batches.by_length(np.arange(30, 40))[1])
    accuracy = (probabilities.argmax(axis=1) == labels).mean()
    assert accuracy == max(row.validation_accuracy for row in history.epochs)


def test_the_metrics_are_those_of_the_model(batches, one_epoch):
    """Red when the loss is averaged over batches of unlike size, or accuracy counts padding."""
    folder, history = one_epoch
    model = Classifier(keras.models.load_model(folder / "last.keras"))
    probabilities, labels = model.predict(batches.by_length(np.arange(30, 40))[1])
    loss = -np.log(probabilities[np.arange(10), labels]).mean()
    assert history.epochs[0].validation_loss == pytest.approx(loss, rel=1e-5)


def test_the_last_batch_of_one_works(batches):
    trained = classifier()
    for inputs, labels in batches.shuffled(np.arange(9), 0):  # 8 and 1
        loss, correct = trained.train_batch(inputs, labels)
        assert np.isfinite(loss)
        assert 0 <= correct <= len(labels)


def test_nothing_is_left_half_written(one_epoch):
    names = sorted(path.name for path in one_epoch[0].iterdir())
    assert names == ["best.keras", "checkpoint.npz", "last.keras", "metrics.csv"]


def test_equals_go_to_the_lower_loss():
    rows = [Epoch(i, 0, 0, 0, loss, 0.9, 0.5, 1, 1, 0, 0) for i, loss in enumerate([1.0, 0.7, 0.9])]
    assert History(rows).best.epoch == 1


def test_the_score_chooses_the_best_epoch(batches, tmp_path):
    """Red when accuracy chooses whatever the score."""
    scores = iter([0.1, 0.9, 0.3])
    history = run(batches, tmp_path, epochs=3, score=lambda probabilities, labels: next(scores))
    assert history.best.epoch == 2
    assert [row.validation_score for row in history.epochs] == [0.1, 0.9, 0.3]


def test_coupled_weight_decay_is_that_of_torch():
    """w <- w - lr v, v <- momentum v + (gradient + decay w), here with a gradient of zero."""
    inputs = keras.Input((2,))
    outputs = keras.layers.Dense(2, "softmax", kernel_initializer="ones")(inputs)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    trained = Classifier(keras.Model(inputs, outputs), optimizer, coupled_weight_decay=0.5)
    weight, velocity = 1.0, 0.0
    for _ in range(3):
        trained.train_batch(tf.zeros((4, 2)), tf.constant([0, 1, 0, 1]))
        velocity = 0.9 * velocity + 0.5 * weight
        weight -= 0.1 * velocity
    np.testing.assert_allclose(trained.model.layers[-1].kernel, weight, rtol=1e-6)


def test_the_paper_recipe_is_the_published_one():
    """Red when a constant of FACTS is changed: Keras 2 sigmoid, raw int8 pixels, L2, dropout."""
    model = classifier(PAPER).model
    layer = model.get_layer("gru").rnn
    assert layer.cell.recurrent_activation.__name__ == "keras2_hard_sigmoid"
    assert layer.cell.recurrent_dropout == 0.25
    assert layer.cell.dropout == 0
    assert model.get_layer("gru").scale == 1
    assert model.get_layer("probabilities").kernel_regularizer.l2 == pytest.approx(1e-2)
    assert (PAPER.learning_rate, PAPER.batch_size, PAPER.selection) == (1e-4, 16, "last")


def test_the_paper_kernel_starts_as_keras_2_drew_it():
    """Red when the flat Glorot rule is Keras 3's: the deviation is then 7.7e-7."""
    keras.utils.set_random_seed(0)
    model = build_model(
        PAPER, (120, 160, 3), 11, cell="gru", formats=Formats(), policy="float32", seed=0
    )
    kernel = np.asarray(model.get_layer("gru").rnn.cell.full_kernel())
    assert kernel.std() == pytest.approx(2.5e-3, rel=0.25)


def test_every_format_has_at_most_the_weights_of_the_tensor_train():
    """One rank more would be too many. Red for budgets without the gates."""
    budgets = []
    for recurrent in (None, "ht"):
        for name in ("tt", "tr", "bt", "tucker", "cp", "kcp", "ht", "dense"):
            model = build_model(
                TUNED, (12, 16, 3), 11, cell="gru", formats=Formats(name, recurrent),
                policy="float32", seed=0,
            )  # fmt: skip
            cell = model.get_layer("gru").rnn.cell
            if name == "tt" and recurrent is None:
                budgets.append(cell.num_kernel_params)
                assert isinstance(cell, ttrnn.TTGRUCell)
            if name != "dense":
                assert cell.num_kernel_params <= budgets[0], name
                used = cell.kernel_format
                assert used.name == name
                wider = ttrnn.make_format(
                    name, used.input_modes, used.output_modes, max(used.ranks) + 1
                )
                assert wider.with_gates(3).num_params > budgets[0], name
            assert (cell.recurrent_format is None) == (recurrent is None)
    # The tensor train of rank 16 has modes of 4, 5, 8, 8 and 3 * 4, 4, 4, 2.
    budget = 16 * 4 * 12 + 16 * 16 * 5 * 4 + 16 * 16 * 8 * 4 + 16 * 8 * 2
    model = build_head(
        on_features(TUNED), 1280, 3, cell="gru", formats=Formats("low-rank"), policy="float32",
        seed=0,
    )  # fmt: skip
    shapes = [tuple(core.shape) for core in model.get_layer("gru").cell.cores]
    assert shapes == [(1280, 8), (3 * 128, 8)]
    assert 8 * (1280 + 3 * 128) <= budget < 9 * (1280 + 3 * 128)
    ranked = build_head(
        TUNED, 24, 3, cell="lstm", formats=Formats("cp", rank=7), policy="float32", seed=0
    )
    assert ranked.get_layer("lstm").cell.kernel_format.ranks == (7,)


@pytest.mark.parametrize(
    ("name", "of"),
    # A product of two matrices has more weights than the tensor train of pixels at any rank.
    [("tt", "pixels"), ("cp", "pixels"), ("tt", "features"), ("low-rank", "features")],
)
def test_a_joint_matrix_has_the_weights_of_a_tensor_train_of_its_size(name, of, tmp_path):
    """Red when it has the rows of the frame alone, a dense matrix beside it, or a dense scene."""
    formats = Formats(joint=name)
    if of == "pixels":
        # Also shows the classifier the mean frame, which is as large as a frame.
        model = build_model(
            replace(TUNED, scene=True), (12, 16, 3), 11, cell="gru", formats=formats,
            policy="float32", seed=0,
        )  # fmt: skip
        clips = {"frames": np.zeros((5, 12, 16, 3), "uint8"), "num_frames": np.array([2, 3])}
        cell, scene = model.get_layer("gru").rnn.cell, model.get_layer("scene")
        # 576 values and 256 states are 832 = 4 * 4 * 4 * 13 rows.
        budget = 4 * 4 * 12 + 4 * 4 * 4 * 4 + 4 * 4 * 4 * 4 + 4 * 13 * 4
        assert scene.kernel_format.input_size == 576
    else:
        model = build_head(
            on_features(TUNED), 24, 3, cell="gru", formats=formats, policy="float32", seed=0
        )
        clips = {"features": np.ones((5, 24), "float32"), "num_frames": np.array([2, 3])}
        cell = model.get_layer("gru").cell
        # 24 features and 128 states are 152 = 2 * 2 * 2 * 19 rows.
        budget = 16 * 2 * 12 + 16 * 16 * 2 * 4 + 16 * 16 * 2 * 4 + 16 * 19 * 2
    used = cell.joint_format
    if name == "tt":
        assert used.with_gates(3).num_params == budget
    assert used.with_gates(3).num_params <= budget
    wider = type(used)(used.input_modes, used.output_modes, max(used.ranks) + 1)
    assert wider.with_gates(3).num_params > budget
    # All weights but the bias.
    weights = sum(math.prod(weight.shape) for weight in cell.weights)
    assert weights - 3 * cell.units == cell.num_kernel_params
    model.save(tmp_path / "joint.keras")
    again = keras.saving.load_model(tmp_path / "joint.keras")
    np.testing.assert_allclose(again(clips), model(clips), atol=1e-6)


@pytest.mark.parametrize("kernel", ["tt", "dense", "cp"])
def test_a_layer_without_recurrence_sees_the_mean_over_a_clip(kernel, tmp_path):
    """By NumPy. Red for another clip's frames, a gate too many, or an activation that is lost."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (5, 12, 16, 3), np.uint8)
    features = rng.standard_normal((5, 24)).astype("float32")
    for of, rows in (("frames", frames.reshape(5, -1) - 128.0), ("features", features)):
        options = {"cell": "mlp", "formats": Formats(kernel), "policy": "float32", "seed": 0}
        if of == "frames":
            model = build_model(TUNED, (12, 16, 3), 11, **options)
        else:
            model = build_head(TUNED, 24, 3, **options)
            # Zeros at first, which would hide all before them.
            weights = model.get_layer("probabilities").kernel
            weights.assign(rng.standard_normal(weights.shape))
        layer, last = model.get_layer("mlp"), model.get_layer("probabilities")
        assert (layer.kernel_format is None) == (kernel == "dense")
        means = np.stack([rows[:2].mean(axis=0), rows[2:].mean(axis=0)]) / TUNED.pixel_scale
        hidden = np.tanh(means @ np.asarray(layer.full_kernel()) + np.asarray(layer.bias))
        scores = np.exp(hidden @ np.asarray(last.kernel) + np.asarray(last.bias))
        clips = {of: frames if of == "frames" else features, "num_frames": np.array([2, 3])}
        expected = scores / scores.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(model(clips), expected, atol=1e-5)
        model.save(tmp_path / "mlp.keras")
        again = keras.saving.load_model(tmp_path / "mlp.keras")
        np.testing.assert_allclose(again(clips), expected, atol=1e-5)


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (6, 1.0), (100, 0.0)])
def test_the_cosine_schedule(step, share):
    """Red when warm-up is counted twice or the rate does not end at zero."""
    from dataclasses import replace

    recipe = replace(TUNED, warmup_share=0.06, learning_rate=1e-2, schedule="cosine")
    optimizer = build_optimizer(recipe, 100)
    optimizer.build([])
    optimizer.iterations.assign(step)
    assert float(optimizer.learning_rate) == pytest.approx(share * 1e-2, abs=1e-6)
