"""The UCF101 baselines' checkpoints: from a .pth to the logits that torch has of them."""

from collections import OrderedDict
from functools import partial

import numpy as np
import pytest
from ucf101_golden import LENGTHS, check, clips, logits, small_state

from preprocess.system import stopping
from tests.weights.torch_pickles import state_dict, zip_file
from ttrnn import models
from weights import (
    WeightsError,
    conv3d_arrays,
    crnn_arrays,
    read_arrays,
    read_state_dict,
    resnet_crnn_arrays,
)
from weights import __main__ as weights_command


@pytest.fixture
def command(monkeypatch, capsys):
    """Run the command in this process: its exit code, output and errors."""
    monkeypatch.setattr("experiments.process.runtime.configure", lambda threads, seed: None)
    monkeypatch.setattr(stopping, "answer_signals", lambda resume_hint: None)

    def run(*args):
        monkeypatch.setattr("sys.argv", ["weights", *map(str, args)])
        return weights_command.main(), *capsys.readouterr()

    return run


def write_by_torch(path, state):
    torch = pytest.importorskip("torch")
    torch.save(OrderedDict((key, torch.from_numpy(a)) for key, a in state.items()), path)


def write_by_hand(path, state):
    """Where torch is not."""
    path.write_bytes(zip_file(*state_dict(state)))


WRITERS = pytest.mark.parametrize("write", [write_by_torch, write_by_hand])


def parallel(state):
    """As torch.nn.DataParallel names them."""
    return {f"module.{key}": array for key, array in state.items()}


@WRITERS
def test_a_conv3d_checkpoint_says_what_it_did_in_torch(command, tmp_path, write):
    path, out = tmp_path / "3dcnn_epoch4.pth", tmp_path / "conv3d.weights.h5"
    write(path, small_state("conv3d", "conv3d."))
    shape = ("--clip-shape", 10, 64, 80)
    code, output, err = command("convert", path, out, "--model", "ucf101_conv3d", *shape)
    assert (code, err) == (0, "")
    assert "18 arrays, 3,209,781 parameters" in output
    model = models.build_conv3d(5, num_frames=10, height=64, width=80)
    model.load_weights(out)
    check(logits(model, clips((10, 10), 64, 80)), "conv3d_logits")


@WRITERS
def test_a_crnn_of_two_files_says_what_it_did_in_torch(command, tmp_path, write):
    """Trained on several devices, too."""
    paths = [tmp_path / f"{part}_epoch63.pth" for part in ("cnn_encoder", "rnn_decoder")]
    write(paths[0], parallel(small_state("crnn_encoder", "crnn.")))
    write(paths[1], parallel(small_state("decoder", "decoder.")))
    out = tmp_path / "crnn.weights.h5"
    args = ("--model", "ucf101_crnn", "--decoder", paths[1], "--clip-shape", 28, 64, 80)
    assert command("convert", paths[0], out, *args)[0] == 0
    model = models.build_crnn(5, height=64, width=80)
    model.load_weights(out)
    check(logits(model, clips(LENGTHS, 64, 80)), "crnn_logits")


def test_a_resnet_crnn_of_two_files_says_what_it_did_in_torch(command, tmp_path, monkeypatch):
    """Of ResNet-50 in place of 152."""
    small = partial(models.build_resnet_crnn, depth=50, height=64, width=48)
    monkeypatch.setattr(models, "build_resnet_crnn", small)
    encoder, decoder = tmp_path / "cnn_encoder_epoch63.pth", tmp_path / "rnn_decoder_epoch63.pth"
    write_by_hand(encoder, small_state("resnet_encoder", "resnet_crnn."))
    write_by_hand(decoder, small_state("decoder", "decoder."))
    out = tmp_path / "resnet_crnn.weights.h5"
    args = ("--model", "ucf101_resnet_crnn", "--decoder", decoder)
    assert command("convert", encoder, out, *args)[0] == 0
    model = small(5)
    model.load_weights(out)
    check(logits(model, clips(LENGTHS, 64, 48)), "resnet_crnn_logits")


def test_arrays_are_views_and_biases_sums():
    """Red when 1.3 GB of fc1 are copied, or one of an LSTM's biases is left out."""
    state = {"fc1.weight": np.zeros((256, 48), np.float32)}
    assert np.shares_memory(conv3d_arrays(state)["fc1/kernel"], state["fc1.weight"])
    decoder = small_state("decoder", "decoder.")
    found = crnn_arrays({}, decoder)["decoder_lstm3/lstm_cell/bias"]
    np.testing.assert_array_equal(found, decoder["LSTM.bias_ih_l2"] + decoder["LSTM.bias_hh_l2"])


LIGHTNING = {  # what Lightning 2 writes beside the state dict
    **{"epoch": 3, "global_step": 40, "pytorch-lightning_version": "2.5.0"},
    "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
    "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_path": "a.ckpt"}},
    "optimizer_states": [{"state": {}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999)}]}],
    **{"lr_schedulers": [], "hparams_name": "kwargs", "hyper_parameters": {"num_classes": 5}},
}


@pytest.mark.parametrize(
    "outer",
    [
        "net.",
        "model._orig_mod.",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("model.", "module.model.module.")
        ),
    ],
)
def test_a_checkpoint_of_lightning_says_what_it_did_in_torch(command, tmp_path, outer):
    """Red when the name that a LightningModule has for its network hides the network's keys, or
    what Lightning keeps beside them is taken for them."""
    path, out = tmp_path / "epoch=3-step=40.ckpt", tmp_path / "conv3d.weights.h5"
    state = {outer + key: array for key, array in small_state("conv3d", "conv3d.").items()}
    tensors, storages = state_dict(state)
    path.write_bytes(zip_file(LIGHTNING | {"state_dict": tensors}, storages, prefix="epoch=3/"))
    shape = ("--clip-shape", 10, 64, 80)
    code, output, err = command("convert", path, out, "--model", "ucf101_conv3d", *shape)
    assert (code, err) == (0, "")
    assert "18 arrays, 3,209,781 parameters" in output
    model = models.build_conv3d(5, num_frames=10, height=64, width=80)
    model.load_weights(out)
    check(logits(model, clips((10, 10), 64, 80)), "conv3d_logits")


def test_a_checkpoint_of_lightning_with_a_loss_of_its_own_is_told(command, tmp_path):
    """Red when names are left out that are not before every key, or when a key is passed over."""
    path = tmp_path / "last.ckpt"
    state = {f"model.{key}": array for key, array in small_state("conv3d", "conv3d.").items()}
    path.write_bytes(zip_file(*state_dict(state | {"criterion.weight": np.ones(5, "f4")})))
    args = ("--model", "ucf101_conv3d", "--clip-shape", 10, 64, 80)
    code, _, err = command("convert", path, tmp_path / "a.weights.h5", *args)
    assert code != 0
    assert "criterion.weight" in err
    assert err.count("\n") == 1


def zeros(**shapes):
    return {key.replace("__", "."): np.zeros(shape) for key, shape in shapes.items()}


LSTM = {"LSTM__weight_ih_l0": (8, 3), "LSTM__bias_ih_l0": (8,), "LSTM__bias_hh_l0": (8,)}


@pytest.mark.parametrize(
    ("convert", "states", "message"),
    [
        (conv3d_arrays, [zeros(conv1__0__weight=(1,))], "CNN3D, .* 1 others: conv1.0.weight"),
        (conv3d_arrays, [zeros(conv3__weight=(1,))], "others: conv3.weight"),
        (conv3d_arrays, [zeros(fc1__running_mean=(1,))], "others: fc1.running_mean"),
        (conv3d_arrays, [zeros(conv1__weight=(32, 3, 5, 5))], "conv1.weight must have 5 axes"),
        (crnn_arrays, [zeros(LSTM__weight_ih_l0=(1, 1)), {}], "EncoderCNN, .* others: LSTM.weight"),
        (crnn_arrays, [zeros(conv1__0__running_mean=(1,)), {}], "others: conv1.0.running_mean"),
        (crnn_arrays, [zeros(bn1__weight=(1,)), {}], "EncoderCNN, .* others: bn1.weight"),
        (crnn_arrays, [zeros(resnet__0__weight=(1,)), {}], "EncoderCNN, .* others: resnet.0"),
        (crnn_arrays, [{}, zeros(conv1__0__weight=(1,))], "DecoderRNN, .* others: conv1.0.weight"),
        (crnn_arrays, [{}, zeros(LSTM__weight_hr_l0=(1, 1))], "others: LSTM.weight_hr_l0"),
        (resnet_crnn_arrays, [zeros(resnet__2__weight=(1,)), {}], "others: resnet.2.weight"),
        (resnet_crnn_arrays, [zeros(resnet__4__0__conv1__bias=(1,)), {}], "others: resnet.4.0"),
        (resnet_crnn_arrays, [zeros(resnet__fc__bias=(1,)), {}], "others: resnet.fc.bias"),
        (resnet_crnn_arrays, [zeros(conv1__weight=(1,)), {}], "ResCNNEncoder, .* others: conv1"),
        (
            crnn_arrays,
            [{}, zeros(**{**LSTM, "LSTM__bias_hh_l0": (1,)})],
            "two biases of one length. decoder_lstm1",
        ),
        (
            crnn_arrays,
            [{}, zeros(LSTM__weight_ih_l2=(8, 3), LSTM__bias_ih_l2=(8,))],
            "two biases of one length. decoder_lstm3",
        ),
        (
            crnn_arrays,
            [{}, {"fc1.bias": np.zeros(2), "module.fc1.bias": np.zeros(2)}],
            "decoder_fc1/bias is there under two keys",
        ),
    ],
)
def test_files_of_another_model_are_told(convert, states, message):
    with pytest.raises(WeightsError, match=message):
        convert(*states)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--model", "ucf101_crnn"], "--decoder is for ucf101_crnn and ucf101_resnet_crnn"),
        (["--model", "ucf101_conv3d", "--decoder", "b.pth"], "ucf101_conv3d, --decoder b.pth"),
        (["--model", "ucf101_crnn", "--decoder", "no.pth"], "no.pth cannot be read"),
        (["--model", "ucf101_conv3d"], "fc3/bias's. The file lacks it"),
    ],
)
def test_what_is_missing_is_told_in_a_line(command, monkeypatch, tmp_path, args, message):
    monkeypatch.chdir(tmp_path)
    write_by_hand(tmp_path / "a.pth", {"conv1.bias": np.zeros(32, np.float32)})
    code, out, err = command("convert", "a.pth", "b.weights.h5", *args)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_the_optimizers_file_is_no_model(tmp_path):
    """The original saves optimizer_epochN.pth beside the others."""
    torch = pytest.importorskip("torch")
    torch.save({"state": {0: {"step": 1}}, "param_groups": []}, tmp_path / "optimizer_epoch1.pth")
    with pytest.raises(WeightsError, match="no state dict"):
        read_state_dict(tmp_path / "optimizer_epoch1.pth")


LISTED_LAST = {  # lines of UCF101's classInd.txt around the places where orders differ
    **{34: "Haircut", 35: "Hammering", 36: "HammerThrow", 37: "HandstandPushups"},
    **{46: "JugglingBalls", 47: "JumpingJack", 48: "JumpRope", 49: "Kayaking"},
}


@pytest.mark.parametrize("order", ["official", "file"])
def test_classes_are_those_of_the_official_list(command, tmp_path, order):
    """Red when HammerThrow's scores come out as Hammering's. The original's label of a class is its
    place among the sorted names; each bias is here that label."""
    from preprocess.sources.catalog import UCF101

    state = small_state("decoder", "decoder.")
    state["fc2.weight"] = np.zeros((101, 256), np.float32)
    state["fc2.bias"] = np.arange(101, dtype=np.float32)
    label = {name: place for place, name in enumerate(sorted(UCF101.class_names))}
    paths = [tmp_path / "cnn_encoder.pth", tmp_path / "rnn_decoder.pth"]
    write_by_hand(paths[0], small_state("crnn_encoder", "crnn."))
    write_by_hand(paths[1], state)
    out = tmp_path / "crnn.safetensors"
    args = ("--model", "ucf101_crnn", "--decoder", paths[1], "--clip-shape", 28, 64, 80)
    code, output, _ = command("convert", paths[0], out, *args, "--class-order", order)
    assert code == 0
    bias = read_arrays(out)["decoder_fc2/bias"]
    if order == "file":
        assert bias.tolist() == list(range(101))
        assert "moved" not in output
        return
    assert "Hammering" in output
    for number, name in LISTED_LAST.items():
        assert UCF101.class_names[number - 1] == name
        assert bias[number - 1] == label[name]
    assert [bias[i] for i in (34, 35, 46, 47)] == [35, 34, 47, 46]
    assert sorted(bias) == list(range(101))
