"""Safe readers of published weights, for models that are given.

`weights.registry` lists the files that can be fetched or are installed as packages; `weights.fetch`
downloads and verifies one.

>>> from weights import assign_arrays, read_state_dict, resnet_arrays
>>> arrays = resnet_arrays(read_state_dict("resnet50.pth"))
>>> assign_arrays(model, arrays)  # all weights, or none of them
"""

import common  # noqa: F401  (first: it says in one line that nothing is installed)
from weights.alexnet import read_alexnet_npy
from weights.arrays import read_arrays, write_safetensors
from weights.assign import assign_arrays, model_arrays
from weights.errors import WeightsError
from weights.imagenet import ImageNetClass, imagenet_classes
from weights.legacy_tt import load_legacy_tt
from weights.mobile_networks import (
    efficientnet_lite_arrays,
    mobilenet_v2_arrays,
    read_installed,
)
from weights.registry import ENTRIES, Entry
from weights.resnet import resnet_arrays
from weights.timesformer import fit_timesformer, load_timesformer, timesformer_arrays
from weights.torch_reader.torch_files import read_state_dict, read_torch_file
from weights.torch_reader.unpickle import read_object_npy
from weights.ucf101_models import conv3d_arrays, crnn_arrays, resnet_crnn_arrays

__all__ = [
    "ENTRIES",
    "Entry",
    "ImageNetClass",
    "WeightsError",
    "assign_arrays",
    "conv3d_arrays",
    "crnn_arrays",
    "efficientnet_lite_arrays",
    "fit_timesformer",
    "imagenet_classes",
    "load_legacy_tt",
    "load_timesformer",
    "mobilenet_v2_arrays",
    "model_arrays",
    "read_alexnet_npy",
    "read_arrays",
    "read_installed",
    "read_object_npy",
    "read_state_dict",
    "read_torch_file",
    "resnet_arrays",
    "resnet_crnn_arrays",
    "timesformer_arrays",
    "write_safetensors",
]
