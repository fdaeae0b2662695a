"""ONNX files of a stranger: values that lie in other files than the model's folder holds."""

import numpy as np
import onnx
import pytest
from onnx import helper

from experiments.models.onnx_files import OnnxSession

SECRET = np.arange(4, dtype=np.float32)


@pytest.fixture
def folder(tmp_path):
    """Of a model, with the reader's own files beside it, and links to them in it."""
    (tmp_path / "model").mkdir()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "secret.bin").write_bytes(SECRET.tobytes())
    (tmp_path / "model" / "values.bin").write_bytes(SECRET.tobytes())
    (tmp_path / "model" / "link.bin").symlink_to("../own/secret.bin")
    (tmp_path / "model" / "own").symlink_to("../own")
    return tmp_path / "model"


def write_model(path, location):
    """x + w, where w lies in another file."""
    floats = onnx.TensorProto.FLOAT
    tensor = onnx.TensorProto(name="w", data_type=floats, dims=[4])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        tensor.external_data.add(key=key, value=value)
    ends = [helper.make_tensor_value_info(name, floats, [4]) for name in "xy"]
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [tensor])
    opset = helper.make_opsetid("", 13)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    "location",
    ["../own/secret.bin", "./../own/secret.bin", "{own}/secret.bin", "link.bin", "own/secret.bin"],
)
def test_values_outside_of_the_models_folder_are_refused(location, folder):
    """Red with an ONNX Runtime that follows such a path, or a link, to files of the reader's."""
    path = write_model(folder / "m.onnx", location.format(own=folder.parent / "own"))
    with pytest.raises(ValueError, match="ONNX Runtime cannot read"):
        OnnxSession(path)


def test_values_in_the_models_folder_are_read(folder):
    """So the test above is of the place, not of such models at all."""
    session = OnnxSession(write_model(folder / "m.onnx", "values.bin"))
    assert (session(np.ones(4, np.float32)) == SECRET + 1).all()
