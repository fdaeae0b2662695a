"""Hard sigmoid of Keras 2, with which published weights were trained."""

from __future__ import annotations

import keras
from keras import ops
from keras.src import activations


@keras.saving.register_keras_serializable(package="ttrnn")
def keras2_hard_sigmoid(x):
    """Hard sigmoid of Keras 1 and 2, clip(0.2 x + 0.5, 0, 1).

    Keras 3's `hard_sigmoid` is relu6(x + 3) / 6 with a slope of 1/6 instead of 1/5, so weights
    trained with one give different gates with the other.

    Args:
        x: tensor of any shape.

    Returns:
        Tensor of the same shape, from 0 to 1.

    Example:
        >>> layer = TTGRU(
        ...     (4, 8, 8), (4, 4, 4), 3, recurrent_activation="keras2_hard_sigmoid"
        ... )
    """
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def _register_by_name() -> None:
    """Let every Keras layer accept the string "keras2_hard_sigmoid" as an activation."""
    # Keras 3 looks activation strings up in this private table alone, not among registered objects.
    activations.ALL_OBJECTS_DICT.setdefault(keras2_hard_sigmoid.__name__, keras2_hard_sigmoid)


_register_by_name()
