"""Presets: what is given away predicts what the run does, also through the hub's own library."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from common.errors import InputError
from common.extras import MissingExtraError
from experiments import from_preset
from experiments.api import ClipRun
from experiments.clips.model import keep_model
from experiments.clips.presets import push_to_hub, save_to_preset
from experiments.clips.viewed_model import ClipInputSpec
from experiments.runs.run import ClipModelError
from preprocess.batches.views import CropChoice, FrameChoice
from preprocess.shards.settings import FrameSettings
from tests import processes
from tests.experiments.clips import hub_server
from ttrnn.models import build_video_rnn

NAMES = ("jump", "run fast")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Directory of a run with a TT-GRU of random weights."""
    folder = tmp_path_factory.mktemp("run")
    keras.utils.set_random_seed(0)
    modes = {"tt_input_shape": (24, 24), "tt_output_shape": (4, 4), "tt_ranks": 2}
    model = build_video_rnn((12, 16, 3), 2, **modes)
    spec = ClipInputSpec(
        NAMES,
        FrameSettings((16, 12), stride=2),
        FrameChoice(8, "window"),
        CropChoice((16, 12)),
        usual_frames=5,
    )
    keep_model(folder, model, spec)
    result = {"accuracy": 0.75, "accuracy_interval": {"low": 0.5, "high": 0.9}, "dataset": "mine"}
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def probabilities(run: ClipRun) -> np.ndarray:
    frames = np.random.default_rng(0).integers(0, 255, (5, 12, 16, 3), np.uint8)
    return run._loaded.predict([frames], (16, 12))


def test_a_preset_predicts_what_its_run_does(run, tmp_path):
    """Red when a preset lacks a file, or has another's."""
    preset = ClipRun(run).save_to_preset(tmp_path / "preset")
    found = from_preset(str(preset))
    np.testing.assert_array_equal(probabilities(found), probabilities(ClipRun(run)))
    assert found.class_names == NAMES
    assert (preset / "labels.txt").read_text() == "jump\nrun fast\n"
    front, _, card = (preset / "README.md").read_text().removeprefix("---\n").partition("---\n")
    assert "pipeline_tag: video-classification" in front
    assert "accuracy: 0.750 (95 % interval 0.500 to 0.900" in card
    assert "every 2. of a video" in card


def test_wrong_folders_are_told(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="needs a folder of its own"):
        save_to_preset(run, tmp_path / "full")
    with pytest.raises(ClipModelError, match="A finished run's directory is needed"):
        from_preset(tmp_path / "full")


def test_without_the_hubs_library_its_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (
        lambda: from_preset("hf://me/tt"),
        lambda: push_to_hub(run, "me/tt", private=True),
    ):
        with pytest.raises(MissingExtraError, match=r"pip install 'ttrnn\[hub\]'"):
            call()


# The library reads its variables once, when it is imported: hence a process of its own.
ROUND_TRIP = """
import sys
from pathlib import Path
import numpy as np
from common.errors import InputError
from experiments.clips.presets import find_preset, push_to_hub, save_to_preset

run, folder = map(Path, sys.argv[1:])
preset = save_to_preset(run, folder / "preset")
assert push_to_hub(preset, "me/tt", private=True) == "hf://me/tt"
found = find_preset("hf://me/tt")
names = {path.name for path in preset.iterdir()}
assert names == {"model.keras", "model.json", "result.json", "labels.txt", "README.md"}, names
for name in names:
    assert (found / name).read_bytes() == (preset / name).read_bytes(), name
try:
    find_preset("hf://me/none")
except InputError as error:
    print(error)
"""


def test_the_hub_gives_what_it_was_given(run, tmp_path):
    """By the hub's own library, against a server of this machine; red when a file is lost, or a
    missing repository is no error in one line."""
    pytest.importorskip("huggingface_hub")
    with hub_server.local_hub() as url:
        env = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_none"}
        done = processes.run(["-c", ROUND_TRIP, run, tmp_path], env={**os.environ, **env})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The hub does not give hf://me/none: 404")
    assert done.stdout.count("\n") == 1
    assert Path(tmp_path / "home").exists()
