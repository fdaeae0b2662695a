"""One way of preparing clips in training, in Keras and in ONNX: RGB and BGR cannot part ways."""

import numpy as np
import pytest

from experiments.clips.export.subjects import ClipSubject
from experiments.clips.export.write import write_onnx
from experiments.clips.model import ClipModel
from experiments.clips.prediction.predict import OnnxClipModel
from preprocess.batches.view_batches import PixelViews, ViewBatches
from preprocess.batches.views import Views
from preprocess.extraction.extract import extract
from preprocess.shards.reader import open_shards
from preprocess.shards.settings import FrameSettings
from preprocess.sources.clips import Clip
from tests.experiments.clips.export.small_models import input_spec, lively, recurrent


@pytest.fixture(scope="module")
def models(demo_videos, tmp_path_factory):
    """Keras's and ONNX's, which see the middle 16x12 of 24x18."""
    from experiments.clips.export.write import find_sample

    model = lively(recurrent(), 1.7)
    about = input_spec((16, 12), 10, exact=False, stored=(24, 18))
    subject = ClipSubject(model, about)
    (video, *_) = sorted(demo_videos.rglob("*.mpg"))
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(subject, path, find_sample(subject, run_dir=None, video=video))
    return model, about, path


@pytest.mark.parametrize("views", ["1x1", "3x3"])
def test_training_keras_and_onnx_agree_on_real_clips(models, demo_videos, tmp_path, views):
    """Red when one of the three sees other frames, another part of them or other colours."""
    model, about, path = models
    settings, views = FrameSettings((24, 18)), Views.parse(views)
    extract(demo_videos, tmp_path / "shards", settings, jobs=1, dataset="demo")
    with open_shards(tmp_path / "shards") as shards:
        source = PixelViews(shards, about.crops)
        batches = ViewBatches(source, about.choice, batch_size=4, seed=0, views=views)
        order, stream = batches.by_length(range(3))
        rows = np.concatenate([model(inputs, training=False) for inputs, _ in stream])
        trained = [rows[order == clip].mean(axis=0) for clip in range(3)]
        windows = [decoded(demo_videos / shards.sources[clip], settings) for clip in range(3)]
    by_keras, by_onnx = ClipModel(model, about, views=views), OnnxClipModel(path, views=views)
    np.testing.assert_allclose(by_keras.predict(windows, (24, 18)), trained, atol=1e-5)
    np.testing.assert_allclose(by_onnx.predict(windows, (24, 18)), trained, atol=1e-5)
    for one in (by_keras, by_onnx):
        swapped = one.predict([frames[..., ::-1] for frames in windows], (24, 18))
        assert np.abs(swapped - trained).max() > 0.01


def decoded(video, settings):
    """All frames of a video, as predictions read them."""
    frames = []
    with settings.open(Clip(video, video.name, "", ""), threads=1) as reader:
        frame = np.empty(settings.frame_shape, np.uint8)
        while reader.read_into(frame):
            frames.append(frame.copy())
    return np.stack(frames)


def test_clips_of_different_lengths(models):
    """Red when a shorter clip gets another's answer, or is filled up."""
    model, about, path = models
    random = np.random.default_rng(0)
    windows = [random.integers(0, 256, (n, 18, 24, 3), np.uint8) for n in (7, 3, 12, 3, 7)]
    expected = ClipModel(model, about).predict(windows, (24, 18))
    np.testing.assert_allclose(OnnxClipModel(path).predict(windows, (24, 18)), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.01


def test_the_file_says_what_the_model_saw(models):
    _, about, path = models
    model = OnnxClipModel(path)
    assert model.input_spec == about
    assert (model.class_names, model.window) == (about.class_names, 10)
    assert model.frame_settings == about.frames
