"""Tensor-network layers for Keras 3: a kernel of millions of weights stored as a few thousand.

>>> from ttrnn import TTGRU
>>> layer = TTGRU((8, 20, 20, 18), (4, 4, 4, 4), 4)  # 57,600 features to 256 units
>>> layer.num_tt_params
3232

`ttrnn.models` has complete networks. It is imported at its first use; a saved model with their
layers is loaded after `import ttrnn.models`, which registers them with Keras.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ttrnn.activations import keras2_hard_sigmoid
from ttrnn.cells import (
    TensorGRUCell,
    TensorLSTMCell,
    TensorSimpleRNNCell,
    TTGRUCell,
    TTLSTMCell,
    TTSimpleRNNCell,
)
from ttrnn.compression import compress
from ttrnn.dense import TensorDense, TTDense
from ttrnn.engine.exporting import portable_operations
from ttrnn.formats.base import Compression, MatrixFormat, factorize
from ttrnn.formats.block_term import BlockTerm
from ttrnn.formats.cp import CP
from ttrnn.formats.dense import DenseMatrix
from ttrnn.formats.hierarchical_tucker import HierarchicalTucker
from ttrnn.formats.kronecker_cp import KroneckerCP
from ttrnn.formats.registry import make_format
from ttrnn.formats.tensor_ring import TensorRing
from ttrnn.formats.tensor_train import (
    TensorTrain,
    TTShape,
    cores_to_matrix,
    num_tt_params,
    tt_svd,
)
from ttrnn.formats.tucker import Tucker, Tucker2
from ttrnn.initializers import Keras2FlatGlorotUniform
from ttrnn.rnn import TTGRU, TTLSTM, TensorGRU, TensorLSTM, TensorSimpleRNN, TTSimpleRNN

if TYPE_CHECKING:
    from ttrnn import models as models

# The public interface; everything else may change between versions.
__all__ = [
    "CP",
    "TTGRU",
    "TTLSTM",
    "BlockTerm",
    "Compression",
    "DenseMatrix",
    "HierarchicalTucker",
    "Keras2FlatGlorotUniform",
    "KroneckerCP",
    "MatrixFormat",
    "TTDense",
    "TTGRUCell",
    "TTLSTMCell",
    "TTShape",
    "TTSimpleRNN",
    "TTSimpleRNNCell",
    "TensorDense",
    "TensorGRU",
    "TensorGRUCell",
    "TensorLSTM",
    "TensorLSTMCell",
    "TensorRing",
    "TensorSimpleRNN",
    "TensorSimpleRNNCell",
    "TensorTrain",
    "Tucker",
    "Tucker2",
    "compress",
    "cores_to_matrix",
    "factorize",
    "keras2_hard_sigmoid",
    "make_format",
    "models",
    "num_tt_params",
    "portable_operations",
    "tt_svd",
]


def __getattr__(name: str) -> Any:
    """Import `ttrnn.models` at its first use: who wants a layer need not wait for ten networks."""
    if name != "models":
        raise AttributeError(f"module 'ttrnn' has no attribute {name!r}")
    return import_module("ttrnn.models")


def __dir__() -> list[str]:
    return __all__
