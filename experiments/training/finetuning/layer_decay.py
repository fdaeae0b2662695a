"""Learning rates that fall from the head of a model to its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from common.errors import InputError
from experiments.training.finetuning.layer_groups import layer_groups


def rate_multipliers(model: keras.Model, decay: float) -> list[float]:
    """How many times the learning rate each weight is trained with.

    decay^(num_groups - 1 - group): 1 in the last group, which holds the head.

    Args:
        model: its layers frozen already, where some are to be.
        decay: above 0, at most 1, such as 0.75; 1 trains all alike.

    Returns:
        One for each of `model.trainable_variables`.

    Raises:
        InputError: if `decay` is out of its range.

    Reference: Clark et al., ELECTRA, ICLR 2020, appendix A; Bao et al., BEiT, ICLR 2022.
    """
    if not 0 < decay <= 1:
        raise InputError(f"A decay of the learning rate must be in (0, 1]. Received {decay}.")
    groups = layer_groups(model)
    multipliers = {
        id(weight): decay ** (len(groups) - 1 - number)
        for number, group in enumerate(groups)
        for layer in group
        for weight in layer.trainable_variables
    }
    return [multipliers[id(weight)] for weight in model.trainable_variables]


class ScaledAdamW(keras.optimizers.Adam):
    """AdamW with a learning rate of its own for each weight.

    The update is scaled, and the weight decay with it. A scaled gradient would change nothing:
    Adam divides by its size. A schedule, and the norm that gradients are clipped to, hold for all
    weights together. The state is AdamW's.

    Args:
        learning_rate: a number or a schedule.
        multipliers: of it, one for each weight that the optimizer is built with.
        weight_decay: apart from the gradient.
        options: of `keras.optimizers.Adam`.

    Raises:
        InputError: in `build`, if there are not as many multipliers as weights.
    """

    def __init__(
        self,
        learning_rate: Any,
        multipliers: Sequence[float],
        *,
        weight_decay: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.multipliers = tuple(multipliers)
        # Keras's own weight decay knows one learning rate only.
        self.scaled_weight_decay = weight_decay

    def build(self, variables) -> None:
        """Make the state of so many weights."""
        if len(variables) != len(self.multipliers):
            raise InputError(
                "There must be as many multipliers as weights; freeze layers first. Received "
                f"{len(self.multipliers)} for {len(variables)}."
            )
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate) -> None:
        """One weight's."""
        multiplier = self.multipliers[self._get_variable_index(variable)]
        rate = keras.ops.cast(learning_rate, variable.dtype) * multiplier
        if self.scaled_weight_decay:
            self.assign_sub(variable, variable * self.scaled_weight_decay * rate)
        super().update_step(gradient, variable, rate)
