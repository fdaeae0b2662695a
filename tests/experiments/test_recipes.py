"""Overrides of a recipe: parsed, checked, never silently dropped."""

import pytest

from experiments.recipes import PAPER, TUNED


def test_values_are_read_as_json_or_text():
    changed = TUNED.override(["inputs=raw", "clip_norm=null", "epochs=3", "tt_output_shape=[2,8]"])
    assert (changed.inputs, changed.clip_norm, changed.epochs) == ("raw", None, 3)
    assert changed.tt_output_shape == (2, 8)
    assert changed.learning_rate == TUNED.learning_rate


@pytest.mark.parametrize("change", ["inputz=raw", "inputs", "name=x", "=3"])
def test_an_unknown_name_is_refused(change):
    with pytest.raises(ValueError, match="--set takes NAME=VALUE"):
        PAPER.override([change])


@pytest.mark.parametrize("change", ["inputs=3", "epochs=many", "learning_rate=true", "scene=1"])
def test_a_value_of_another_kind_is_refused(change):
    with pytest.raises(ValueError, match="another kind"):
        PAPER.override([change])
