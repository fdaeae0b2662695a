"""Tensor-Train layers for Keras 3: a kernel of millions of weights stored as a few thousand.

>>> from ttrnn import TTGRU
>>> layer = TTGRU((8, 20, 20, 18), (4, 4, 4, 4), 4)  # 57,600 features to 256 units
>>> layer.num_tt_params
3232
"""

from ttrnn import models  # registers the models' layers, so that saved models load
from ttrnn.activations import keras2_hard_sigmoid
from ttrnn.cells import TTGRUCell, TTLSTMCell, TTSimpleRNNCell
from ttrnn.dense import TTDense
from ttrnn.engine.exporting import portable_operations
from ttrnn.formats.tensor_train import (
    Compression,
    TTShape,
    cores_to_matrix,
    factorize,
    num_tt_params,
    tt_svd,
)
from ttrnn.initializers import Keras2FlatGlorotUniform
from ttrnn.rnn import TTGRU, TTLSTM, TTSimpleRNN

# The public interface; everything else may change between versions.
__all__ = [
    "TTGRU",
    "TTLSTM",
    "Compression",
    "Keras2FlatGlorotUniform",
    "TTDense",
    "TTGRUCell",
    "TTLSTMCell",
    "TTShape",
    "TTSimpleRNN",
    "TTSimpleRNNCell",
    "cores_to_matrix",
    "factorize",
    "keras2_hard_sigmoid",
    "models",
    "num_tt_params",
    "portable_operations",
    "tt_svd",
]
