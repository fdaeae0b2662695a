"""The command `python -m weights`: list, fetch, verify and convert other people's weights."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import numpy as np
from tyro.conf import Positional, subcommand

from common.command_line import parse_arguments
from common.errors import did_you_mean
from common.files import replacing
from experiments.models.zoo import (
    MOBILE_NETWORKS,
    NAMES,
    RESNETS,
    TIMESFORMERS,
    WITH_DECODER,
)
from experiments.process import runtime
from preprocess.sources.catalog import UCF101
from preprocess.system.command import run_command
from weights import registry
from weights.alexnet import read_alexnet_npy
from weights.arrays import read_arrays, write_errors, write_safetensors
from weights.assign import model_arrays
from weights.errors import WeightsError
from weights.mobile_networks import CONVERTERS
from weights.resnet import resnet_arrays
from weights.timesformer import fit_timesformer, size_of, timesformer_arrays
from weights.ucf101_models import conv3d_arrays, crnn_arrays, resnet_crnn_arrays

FOLDER = Path("weights")
KERAS_WEIGHTS = ".weights.h5"


@dataclass(frozen=True)
class List:
    """Show the files that are known, and which are here."""

    folder: Path = FOLDER
    """Where to look for them."""

    def run(self) -> int:
        """Print the table; return the exit code."""
        header = ("name", "file", "parameters", "about MB", "checksum", "here", "licence")
        rows = [header]
        for entry in registry.ENTRIES.values():
            rows.append(
                (
                    entry.name,
                    entry.file_name,
                    f"{entry.num_parameters:,}",
                    f"{4 * entry.num_parameters / 1e6:.0f}",
                    entry.checksum.partition(":")[0] if entry.checksum else "-",
                    self._where(entry),
                    entry.licence,
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(map(str.ljust, row, widths)).rstrip())
        return 0

    def _where(self, entry: registry.Entry) -> str:
        """Say whether a file is in the folder, or in its package."""
        if (self.folder / entry.file_name).is_file():
            return "yes"
        if entry.package is None:
            return "no"
        return "not installed" if registry.installed_file(entry) is None else "installed"


@dataclass(frozen=True)
class Fetch:
    """Download a file and verify it. A second run continues where the first one stopped."""

    name: Positional[str]
    """Name of the weights, as `list` shows it."""
    folder: Path = FOLDER
    """Folder to put the file into."""
    url: str | None = None
    """Address to use instead of the known one."""

    def run(self) -> int:
        """Fetch; return the exit code."""
        # Imports requests, for which --help need not wait.
        from weights.fetch import fetch

        path = fetch(registry.find_entry(self.name), self.folder, url=self.url)
        print(f"{path} is there and verified.")
        return 0


@dataclass(frozen=True)
class Verify:
    """Check that a file is what its name says."""

    file: Positional[Path]
    """The file."""
    name: str | None = None
    """What it must be, as `list` shows it; by default what its file name says."""

    def run(self) -> int:
        """Verify; return the exit code."""
        # By default a file is what its name says, so a renamed one needs --name.
        try:
            entry = registry.find_entry(self.name or self.file.name)
        except WeightsError as error:
            raise WeightsError(f"{error} Say with --name which of them it is.") from None
        registry.verify(self.file, entry)
        print(f"{self.file} is {entry.name}, {entry.num_parameters:,} parameters.")
        return 0


@dataclass(frozen=True)
class Convert:
    """Read a file of arrays safely, and write it for Keras or as safetensors."""

    file: Positional[Path]
    """bvlc_alexnet.npy; an .npz or .safetensors file of arrays by layer/variable; or, for an
    EfficientNet-Lite, a network of torchvision, a UCF101 model or a TimeSformer, PyTorch's .pth or
    .safetensors."""
    out: Positional[Path]
    """What to write: a name that ends in .weights.h5 or .safetensors."""
    model: str | None = None
    """The model that the file is for, such as mobilenet_0.25 or torchvision_resnet50. For a
    timesformer the file may be of the original, of transformers, or a plain ViT's."""
    decoder: Path | None = None
    """The decoder's file of a ucf101_crnn or ucf101_resnet_crnn; FILE is the encoder's."""
    clip_shape: tuple[int, int, int] = (28, 256, 342)
    """Frames, height and width that a ucf101_conv3d or ucf101_crnn was made for."""
    class_order: Literal["official", "file"] = "official"
    """Of a UCF101 model of 101 classes: official, that of classInd.txt and of this suite; file, as
    they are, the original's order, in which capitals come before small letters."""
    num_classes: int | None = None
    """Classes of a timesformer, if others than the file's: its last layer then starts anew."""
    num_frames: int | None = None
    """Frames of a timesformer's clips, if others than the file's; 8 where it has none."""
    image_size: int | None = None
    """Height and width of a timesformer's frames in pixels, if others than the file's."""
    ignore: tuple[str, ...] = ()
    """Keys of a timesformer's file, or what they start with up to a dot, to leave out."""
    overwrite: bool = False
    """Replace OUT where it exists."""

    def run(self) -> int:
        """Convert; return the exit code."""
        self._check_arguments()
        arrays = self._arrays()
        # Filling a model checks that nothing is missing and that shapes fit; its own arrays, under
        # its own names, are then what is written.
        model = self._model(arrays)
        if model is not None:
            arrays = model_arrays(model)
        if self.out.name.endswith(KERAS_WEIGHTS):
            with write_errors(self.out), replacing(self.out) as temporary:
                model.save_weights(temporary, overwrite=True)
        else:
            write_safetensors(self.out, arrays)
        num_parameters = sum(array.size for array in arrays.values())
        print(f"{self.out}: {len(arrays)} arrays, {num_parameters:,} parameters.")
        return 0

    def _check_arguments(self) -> None:
        """Raise WeightsError for anything that would fail only after minutes of work."""
        if not self.out.name.endswith((KERAS_WEIGHTS, ".safetensors")):
            raise WeightsError(
                f"OUT must end in {KERAS_WEIGHTS} or .safetensors. It is {self.out}."
            )
        if self.out.exists() and not self.overwrite:
            raise WeightsError(f"{self.out} exists. Choose another name, or give --overwrite.")
        if not self.out.parent.is_dir():
            raise WeightsError(f"There is no folder {self.out.parent} to write to; make it first.")
        if not os.access(self.out.parent, os.W_OK):
            raise WeightsError(f"{self.out.parent} may not be written to; name another folder.")
        if self.model is not None and self.model not in NAMES:
            message = f"--model must be one of {', '.join(NAMES)}. It is {self.model}."
            raise WeightsError(f"{message} {did_you_mean(self.model, NAMES)}".strip())
        self._check_options()
        is_npy = self.file.suffix == ".npy"
        if is_npy and self.model not in (None, "alexnet"):
            raise WeightsError(f"An .npy file is read as alexnet's. --model is {self.model}.")
        if not is_npy and self.model is None and self.out.name.endswith(KERAS_WEIGHTS):
            raise WeightsError(
                f"{KERAS_WEIGHTS} files need the model's layers. Give --model, one of "
                f"{', '.join(NAMES)}."
            )

    def _check_options(self) -> None:
        """Raise WeightsError for options that do not belong to the model."""
        if (self.decoder is not None) != (self.model in WITH_DECODER):
            raise WeightsError(
                f"--decoder is for {' and '.join(WITH_DECODER)}, and they need it. --model is "
                f"{self.model}, --decoder {self.decoder}."
            )
        names = ("num_classes", "num_frames", "image_size", "ignore")
        given = [
            f"--{name.replace('_', '-')}" for name in names if getattr(self, name) not in (None, ())
        ]
        if given and self.model not in TIMESFORMERS:
            raise WeightsError(
                f"{' and '.join(given)} must go with --model {', '.join(TIMESFORMERS)}. --model "
                f"is {self.model}."
            )

    def _arrays(self) -> dict[str, np.ndarray]:
        """Read the file's arrays by layer/variable, in the order and size that is wanted."""

        if self.file.suffix == ".npy":
            return read_alexnet_npy(self.file)
        # Everything else is a file of named arrays, whose names tell what it is.
        arrays = read_arrays(self.file)
        if self.decoder is not None:
            both = crnn_arrays if self.model == "ucf101_crnn" else resnet_crnn_arrays
            return self._ordered(both(arrays, read_arrays(self.decoder)), "decoder_fc2")
        if self.model == "ucf101_conv3d":
            return self._ordered(conv3d_arrays(arrays), "fc3")
        if attention := TIMESFORMERS.get(self.model or ""):
            return self._timesformer_arrays(arrays, attention)
        if self.model in MOBILE_NETWORKS:
            return CONVERTERS[self.model](arrays)
        return resnet_arrays(arrays) if self.model in RESNETS else arrays

    def _ordered(self, arrays: dict[str, np.ndarray], layer: str) -> dict[str, np.ndarray]:
        """Reorder the classes of the last layer as is wanted.

        The original numbers UCF101's classes as scikit-learn's LabelEncoder does, by the codes of
        their letters: HammerThrow before Hammering, JumpRope before JumpingJack.
        """

        names = UCF101.class_names
        # A last layer of another size is of other classes, whose order is not known here.
        last = [f"{layer}/kernel", f"{layer}/bias"]
        of_ucf101 = all(name in arrays and arrays[name].shape[-1:] == (101,) for name in last)
        if self.class_order == "file" or not of_ucf101:
            return arrays
        by_code = sorted(names)
        order = [by_code.index(name) for name in names]
        moved = [name for name, place in zip(names, order, strict=True) if names[place] != name]
        print(
            f"The {len(names)} classes of {layer} are now in the order of classInd.txt: "
            f"{', '.join(moved)} have moved. --class-order file leaves them as they are."
        )
        return arrays | {name: arrays[name][..., order] for name in last}

    def _timesformer_arrays(
        self, state: dict[str, np.ndarray], attention: str
    ) -> dict[str, np.ndarray]:
        """Fit a TimeSformer's arrays to the size that is wanted; print what was changed."""
        arrays = timesformer_arrays(state, ignore=self.ignore)
        size = size_of(
            arrays,
            attention=attention,
            num_classes=self.num_classes,
            num_frames=self.num_frames,
            image_size=self.image_size,
        )
        arrays, notes = fit_timesformer(arrays, size.shapes())
        for note in notes:
            print(note)
        return arrays

    def _model(self, arrays: dict[str, np.ndarray]) -> Any:
        """Build the model and fill it with the arrays; None if no model is needed."""
        is_keras = self.out.name.endswith(KERAS_WEIGHTS)
        # An .npy file has been checked as AlexNet's, so safetensors need no model for it.
        name = self.model or ("alexnet" if self.file.suffix == ".npy" else None)
        if name is None or (name == "alexnet" and not is_keras):
            return None
        runtime.configure(runtime.choose_threads("auto"), seed=0)
        # It imports TensorFlow, whose threads are set above.
        from experiments.models.filled_models import filled_model

        return filled_model(name, arrays, clip_shape=self.clip_shape, num_classes=self.num_classes)


def main() -> int:
    """Run the command line; return the exit code."""

    command = parse_arguments(_commands(), prog="python -m weights", description=__doc__)
    this_command = shlex.join(["python", "-m", "weights", *sys.argv[1:]])
    return run_command(
        command.run, resume_hint=lambda: f"What came is kept; go on with: {this_command}"
    )


def _commands() -> Any:
    """Build the union of subcommands for tyro."""
    commands = [
        Annotated[command, subcommand(command.__name__.lower())]
        for command in (List, Fetch, Verify, Convert)
    ]
    return Union[(*commands,)]


if __name__ == "__main__":
    sys.exit(main())
