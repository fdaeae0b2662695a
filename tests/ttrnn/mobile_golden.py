"""Helpers of the tests of mobile networks: the arrays and rules of golden/."""

from functools import partial
from pathlib import Path

import numpy as np

from tests.golden.mobile_rules import SEED as SEED
from tests.golden.mobile_rules import images as images
from tests.golden.weight_rule import value as seeded_value

value = partial(seeded_value, seed=SEED)
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "mobile_networks.npz")


def torch_state(network, make=value):
    """What torch's state_dict() would give, by its own keys and shapes."""
    return {
        str(key): make(str(key), tuple(int(side) for side in shape if side >= 0))
        for key, shape in zip(GOLDEN[f"{network}_keys"], GOLDEN[f"{network}_shapes"], strict=True)
    }
