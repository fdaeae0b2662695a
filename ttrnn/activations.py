"""The hard sigmoid of Keras 2, by which published weights were trained."""

from __future__ import annotations

import keras
from keras import ops
from keras.src import activations


@keras.saving.register_keras_serializable(package="ttrnn")
def keras2_hard_sigmoid(x):
    """clip(0.2 x + 0.5, 0, 1): the `hard_sigmoid` of Keras 1 and 2.

    Keras 3's `hard_sigmoid` is relu6(x + 3) / 6, whose slope is 1/6 instead of 1/5, so weights
    trained under one give other gates under the other.
    """
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def _register_by_name() -> None:
    """Let every Keras layer take the string "keras2_hard_sigmoid".

    Keras 3 looks activation strings up in this table alone, never among registered objects.
    """
    activations.ALL_OBJECTS_DICT.setdefault(keras2_hard_sigmoid.__name__, keras2_hard_sigmoid)


_register_by_name()
