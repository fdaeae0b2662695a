"""The command as a user types it: what it writes, what it refuses, and how it says so."""

import csv
import json

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from experiments.clips.export import subjects
from experiments.clips.export.command import main
from experiments.clips.export.subjects import ClipSubject
from experiments.clips.export.write import find_sample, require_small
from experiments.clips.model import keep_model
from experiments.clips.prediction.predict import OnnxClipModel
from experiments.models.onnx_files import About
from preprocess.extraction.extract import extract
from preprocess.shards.settings import FrameSettings
from tests.experiments.clips.export.small_models import CLIP_MODELS, NAMES
from tests.ttrnn import mobile_golden
from ttrnn.models import build_efficientnet_lite
from weights import assign_arrays, read_installed

pytestmark = pytest.mark.usefixtures("started")


@pytest.fixture(scope="module")
def video(demo_videos):
    return sorted(demo_videos.rglob("*.mpg"))[0]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    make, about = CLIP_MODELS["tt-gru"]
    folder = tmp_path_factory.mktemp("run")
    keep_model(folder, make(), about)
    return folder


def export(*args):
    return main("export", [str(word) for word in args])


def test_a_run_becomes_a_file_and_predicts(run_dir, video, tmp_path, capsys):
    """Red when the file lacks what predictions need, or int8's figures are not told."""
    out = tmp_path / "new" / "x.onnx"
    assert export(run_dir, out, "--frames", video, "--int8") == 0
    output = capsys.readouterr().out
    for expected in ("differ by at most", "x.int8.onnx: 2 matrix products in int8", "same class"):
        assert expected in output
    assert sorted(path.name for path in out.parent.iterdir()) == ["x.int8.onnx", "x.onnx"]
    for name in ("x.onnx", "x.int8.onnx"):
        assert OnnxClipModel(out.with_name(name)).class_names == NAMES
    metadata = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert metadata["color_order"] == "RGB"
    about = About.from_metadata(metadata)
    assert about == About("clips", NAMES, json.loads((run_dir / "model.json").read_text()))

    from experiments.clips.prediction.command import main as predict

    for run in (out, run_dir):
        expected = [
            str(video),
            "--run",
            str(run),
            "--no-annotate",
            "--out",
            f"{tmp_path}/{run.name}",
        ]
        assert predict("predict", expected) == 0
    ours, theirs = (prediction(tmp_path / run.name / "predictions.csv") for run in (out, run_dir))
    assert ours == pytest.approx(theirs, abs=1e-4)


def prediction(table):
    """Of the only video: number of the class, and confidence."""
    (row,) = csv.DictReader(table.open())
    return NAMES.index(row["label"]), float(row["confidence"])


# test_image_models.py exports this network, too, from its weights, and test_image_graphs.py the
# .keras file of another.
@pytest.mark.slow
def test_a_network_of_images_becomes_a_file(video, tmp_path):
    """Red when a .keras file of EfficientNet-Lite is refused, or its graph differs from torch's."""
    model = build_efficientnet_lite(normalize=True)
    assign_arrays(model, read_installed("efficientnet_lite0"))
    model.save(tmp_path / "lite0.keras")
    assert export(tmp_path / "lite0.keras", tmp_path / "x.onnx", "--frames", video) == 0
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx")
    frames = mobile_golden.images(224, 224).astype(np.float32)
    (found,) = session.run(["probabilities"], {"frames": frames})
    logits = mobile_golden.GOLDEN["lite0_published_224x224_logits"]
    np.testing.assert_allclose(found, keras.ops.softmax(logits), atol=1e-5)


def test_the_runs_own_test_clips_are_taken(demo_videos, tmp_path):
    """Red when accuracy is of other clips, or by other labels."""
    extract(demo_videos, tmp_path / "shards", FrameSettings((16, 12)), jobs=1, dataset="demo")
    (tmp_path / "run").mkdir()
    config = {"shards": str(tmp_path / "shards")}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    sources = sorted(
        path.relative_to(demo_videos).as_posix() for path in demo_videos.rglob("*.mpg")
    )
    tested = [sources[2], sources[5], sources[7], sources[10]]
    (tmp_path / "run" / "predictions.csv").write_text("\n".join(["clip,label", *tested]))
    classes = sorted({source.split("/")[0] for source in sources}, reverse=True)
    make, about = CLIP_MODELS["tt-gru"]
    values = about.to_json() | {"class_names": classes}
    subject = ClipSubject(make(), type(about).from_json(values))
    sample = find_sample(subject, run_dir=tmp_path / "run", video=None)
    assert [classes[label] for label in sample.labels] == [name.split("/")[0] for name in tested]
    assert {row.shape for row in sample.rows} == {(10, 12, 16, 3)}


def test_a_graph_that_differs_is_refused(run_dir, video, tmp_path, monkeypatch, capsys):
    """Red when a wrong graph gets the final name, or replaces a right one."""
    whole = subjects.ClipSubject.graph

    def broken(self):
        proto = whole(self)
        for weight in proto.graph.initializer:
            if list(weight.dims) == [len(NAMES)] and weight.data_type == onnx.TensorProto.FLOAT:
                array = onnx.numpy_helper.to_array(weight) + np.arange(len(NAMES)) / 1000
                weight.CopyFrom(onnx.numpy_helper.from_array(array.astype("f4"), weight.name))
        return proto

    monkeypatch.setattr(subjects.ClipSubject, "graph", broken)
    before = tmp_path / "x.onnx"
    before.write_bytes(b"before")
    assert export(run_dir, before, "--frames", video, "--overwrite") == 1
    error = capsys.readouterr().err
    assert "must agree to 0.0001. They differ by 0.000" in error
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]
    assert before.read_bytes() == b"before"


def test_a_graph_that_cannot_be_made(run_dir, video, tmp_path, monkeypatch, capsys):
    def none(self):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(subjects.ClipSubject, "graph", none)
    assert export(run_dir, tmp_path / "x.onnx", "--frames", video) == 1
    assert "makes no graph of this model: no such operation" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_too_large_for_a_file():
    require_small(320_000_000)
    with pytest.raises(ValueError, match="at most 2 GiB"):
        require_small(540_000_000)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["nowhere", "x.onnx"], "No nowhere"),
        (["empty", "x.onnx"], "finished run's directory is needed"),
        (["text.txt", "x.onnx"], "a .keras file, is needed. Received text.txt"),
        (["text.keras", "x.onnx"], "text.keras is refused: its zip"),
        (["clips.keras", "x.onnx"], "A model of clips is exported by its run's directory"),
        (["clips.keras", "x.pb"], "must be called NAME.onnx"),
        (["clips.keras", "there.onnx"], "there.onnx is there already"),
        (["clips.keras", "small.onnx", "--int8"], "small.int8.onnx is there already"),
        (["clips.keras", "folder.onnx", "--overwrite"], "folder.onnx is a directory"),
        (["clips.keras", "text.txt/x.onnx"], "cannot be written"),
        (["clips.keras", "x.onnx", "--frames", "nowhere.mp4"], "There is no nowhere.mp4"),
        (["clips.keras", "x.onnx", "--threads", "many"], "--threads must be auto"),
    ],
)
def test_wrong_commands_get_one_line(wrong, message, run_dir, tmp_path, monkeypatch, capsys):
    """Red when a mistake ends in a traceback, or in a file."""
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "folder.onnx"):
        (tmp_path / name).mkdir()
    for name in ("text.txt", "text.keras", "there.onnx", "small.int8.onnx"):
        (tmp_path / name).write_text("text")
    (tmp_path / "clips.keras").write_bytes((run_dir / "model.keras").read_bytes())
    before = sorted(tmp_path.rglob("*"))
    assert export(*wrong) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_frames_that_are_no_video(run_dir, tmp_path, capsys):
    (tmp_path / "x.mp4").write_text("text")
    assert export(run_dir, tmp_path / "x.onnx", "--frames", tmp_path / "x.mp4") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_no_permission(run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.access", lambda *_: False)
    assert export(run_dir, tmp_path / "x.onnx") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_bad_flag(capsys):
    with pytest.raises(SystemExit) as ended:
        export("run", "x.onnx", "--int4")
    assert ended.value.code == 2


def test_files_of_others_are_no_models_of_clips(tmp_path):
    """Red when a foreign ONNX file ends in a traceback of predict."""
    from experiments.models.onnx_export import to_onnx

    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(ValueError, match="ONNX Runtime cannot read"):
        OnnxClipModel(tmp_path / "text.onnx")
    inputs = keras.Input((4,))
    onnx.save(to_onnx(keras.Model(inputs, keras.layers.Dense(2)(inputs))), tmp_path / "x.onnx")
    with pytest.raises(ValueError, match="metadata does not say what the model is"):
        OnnxClipModel(tmp_path / "x.onnx")
