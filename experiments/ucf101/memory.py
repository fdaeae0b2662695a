"""What conv3d's dense layer takes, told before anything is extracted or allocated."""

from __future__ import annotations

from common.errors import InputError
from experiments.runs import formatting
from experiments.ucf101.arguments import Arguments
from experiments.ucf101.recipes import Recipe
from preprocess.system.machine import read_machine


def require_memory(arguments: Arguments, recipe: Recipe, num_classes: int) -> str:
    """What conv3d's dense layer needs, before anything is extracted or allocated.

    Returns:
        It in words; nothing for other models.

    Raises:
        InputError: if the machine does not have it.
    """
    if arguments.model != "conv3d" or recipe.head != "dense":
        return ""
    from ttrnn.models.conv3d import conv3d_sizes

    width, height = recipe.crop_size
    sizes = conv3d_sizes(
        *(num_classes,),
        num_frames=recipe.num_frames,
        height=height,
        width=width,
        channels=recipe.channels,
        head=recipe.head,
    )
    needed, there = sizes.training_bytes(recipe.batch_size), read_machine().memory_bytes
    line = (
        f"conv3d with {sizes.num_parameters:,} parameters needs about {formatting.size(needed)} at "
        f"batch {recipe.batch_size}"
    )
    if there and needed > there:
        raise InputError(
            f"{line}; this machine grants {formatting.size(there)}. Use a smaller --batch-size (1 "
            f"needs {formatting.size(sizes.training_bytes(1))}), --head gap, which does without "
            "the large layer, or smaller frames: --set frame_size=[171,128] crop_size=[112,112]."
        )
    return f"{line}."
