"""What is kept with a model of clips, damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

GOOD = {
    **{"class_names": ["a", "b"], "usual_frames": 4, "inputs": "frames"},
    "frames": {"size": [16, 12], "stride": 1, "max_frames": None, "compression": "lz4"},
    **{"choice": {"num_frames": 4}, "crops": {"size": [16, 12]}},
}


@pytest.mark.parametrize(
    "changes", [{"frames": {"size": [16]}}, {"choice": {"num_frames": 0}}, {"crops": 3}], ids=str
)
def test_settings_that_cannot_be_are_an_error_of_the_model(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    """Red when the error does not say which model it is of."""
    from experiments.clips.model import read_model
    from experiments.runs.run import ClipModelError

    (tmp_path / "model.json").write_text(json.dumps(GOOD | changes))
    with pytest.raises(ClipModelError, match=str(tmp_path)):
        read_model(tmp_path)


def test_settings_of_another_model_are_refused(tmp_path: Path) -> None:
    """Red when a model is given frames of another size than it takes, far from here."""
    from experiments.clips.model import keep_model, read_model
    from experiments.runs.run import ClipModelError
    from tests.experiments.clips.export.small_models import input_spec, recurrent

    keep_model(tmp_path, recurrent(), input_spec((16, 12), 4, exact=False))
    read_model(tmp_path)
    settings = json.loads((tmp_path / "model.json").read_text())
    settings["crops"]["size"] = [16, 1]
    (tmp_path / "model.json").write_text(json.dumps(settings))
    with pytest.raises(ClipModelError, match=r"takes frames of 16x12, and model.json says 16x1"):
        read_model(tmp_path)
