"""The command `python -m weights`: list, fetch, verify and convert other people's weights."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

from tyro.conf import Positional, subcommand

from experiments import runtime
from weights.errors import WeightsError

if TYPE_CHECKING:
    import numpy as np

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
FOLDER = Path("weights")
KERAS_WEIGHTS = ".weights.h5"
# Models to convert for: a builder of keras.applications and its arguments; None is our AlexNet.
MODELS: dict[str, tuple[str, dict[str, Any]] | None] = {
    "alexnet": None,
    "mobilenet": ("MobileNet", {}),
    "mobilenet_0.25": ("MobileNet", {"alpha": 0.25}),
    "mobilenet_0.5": ("MobileNet", {"alpha": 0.5}),
    "mobilenet_0.75": ("MobileNet", {"alpha": 0.75}),
    "mobilenetv2": ("MobileNetV2", {}),
    "resnet50": ("ResNet50", {}),
    "resnet152": ("ResNet152", {}),
    "efficientnetb0": ("EfficientNetB0", {}),
    "convnexttiny": ("ConvNeXtTiny", {}),
    "vgg16": ("VGG16", {}),
    "inceptionv3": ("InceptionV3", {}),
}
RESNETS = {f"torchvision_resnet{depth}": depth for depth in (18, 34, 50, 101, 152)}
NAMES = (*MODELS, *RESNETS)


@dataclass(frozen=True)
class List:
    """Show the files that are known, and which are here."""

    folder: Path = FOLDER
    """Where to look for them."""

    def run(self) -> int:
        """Print the table; the exit code."""
        from weights.registry import ENTRIES

        header = ("name", "file", "parameters", "about MB", "checksum", "here", "licence")
        rows = [header]
        for entry in ENTRIES.values():
            rows.append(
                (
                    entry.name,
                    entry.file_name,
                    f"{entry.num_parameters:,}",
                    f"{4 * entry.num_parameters / 1e6:.0f}",
                    entry.checksum.partition(":")[0] if entry.checksum else "-",
                    "yes" if (self.folder / entry.file_name).is_file() else "no",
                    entry.licence,
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(map(str.ljust, row, widths)).rstrip())
        return 0


@dataclass(frozen=True)
class Fetch:
    """Download a file and verify it. A second run goes on where the first one stopped."""

    name: Positional[str]
    """As `list` shows it."""
    folder: Path = FOLDER
    """Where to put it."""
    url: str | None = None
    """To get it from, in place of the known address."""

    def run(self) -> int:
        """Fetch; the exit code."""
        from weights.fetch import fetch
        from weights.registry import find_entry

        path = fetch(find_entry(self.name), self.folder, url=self.url)
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
        """Verify; the exit code."""
        from weights.registry import find_entry
        from weights.verify import verify

        try:
            entry = find_entry(self.name or self.file.name)
        except WeightsError as error:
            raise WeightsError(f"{error} Say with --name which of them it is to be.") from None
        verify(self.file, entry)
        print(f"{self.file} is {entry.name}, {entry.num_parameters:,} parameters.")
        return 0


@dataclass(frozen=True)
class Convert:
    """Read a file of arrays safely, and write it for Keras or as safetensors."""

    file: Positional[Path]
    """bvlc_alexnet.npy; an .npz or .safetensors file of arrays by layer/variable; or, for a
    torchvision ResNet, PyTorch's .pth or .safetensors."""
    out: Positional[Path]
    """What to write: a name that ends in .weights.h5 or .safetensors."""
    model: str | None = None
    """The model that the file is for, such as mobilenet_0.25 or torchvision_resnet50."""
    overwrite: bool = False
    """Replace OUT where it exists."""

    def run(self) -> int:
        """Convert; the exit code."""
        self._check()
        arrays = self._arrays()
        model_name = "alexnet" if self.file.suffix == ".npy" else self.model
        if self.out.name.endswith(KERAS_WEIGHTS):
            _save_keras_weights(_filled_model(model_name, arrays), self.out)
        else:
            _save_safetensors(model_name, arrays, self.out)
        num_parameters = sum(array.size for array in arrays.values())
        print(f"{self.out}: {len(arrays)} arrays, {num_parameters:,} parameters.")
        return 0

    def _check(self) -> None:
        """Raise WeightsError for what would fail later, after the work."""
        if not self.out.name.endswith((KERAS_WEIGHTS, ".safetensors")):
            raise WeightsError(
                f"OUT must end in {KERAS_WEIGHTS} or .safetensors. It is {self.out}."
            )
        if self.out.exists() and not self.overwrite:
            raise WeightsError(f"{self.out} exists. Choose another name, or give --overwrite.")
        if not self.out.parent.is_dir():
            raise WeightsError(f"There is no folder {self.out.parent} to write to; make it first.")
        if self.model is not None and self.model not in NAMES:
            raise WeightsError(f"--model must be one of {', '.join(NAMES)}. It is {self.model}.")
        is_npy = self.file.suffix == ".npy"
        if is_npy and self.model not in (None, "alexnet"):
            raise WeightsError(f"An .npy file is read as alexnet's. --model is {self.model}.")
        if not is_npy and self.model is None and self.out.name.endswith(KERAS_WEIGHTS):
            raise WeightsError(
                f"{KERAS_WEIGHTS} files need the model's layers. Give --model, one of "
                f"{', '.join(NAMES)}."
            )

    def _arrays(self) -> dict[str, np.ndarray]:
        from weights.alexnet import read_alexnet_npy
        from weights.arrays import read_arrays
        from weights.resnet import resnet_arrays

        if self.file.suffix == ".npy":
            return read_alexnet_npy(self.file)
        arrays = read_arrays(self.file)
        return resnet_arrays(arrays) if self.model in RESNETS else arrays


def main() -> int:
    """The command line. Returns the exit code."""
    import tyro

    command = tyro.cli(_commands(), prog="python -m weights", description=__doc__)
    runtime.stop_on_termination()
    try:
        return command.run()
    except WeightsError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        words = shlex.join(["python", "-m", "weights", *sys.argv[1:]])
        print(f"\nStopped. What came is kept; go on with: {words}", file=sys.stderr)
        return EXIT_INTERRUPTED


def _commands() -> Any:
    """The sub-commands, for tyro."""
    commands = [
        Annotated[command, subcommand(command.__name__.lower())]
        for command in (List, Fetch, Verify, Convert)
    ]
    return Union[(*commands,)]


def _filled_model(name: str | None, arrays: dict[str, np.ndarray]) -> Any:
    """A model of `NAMES` with these weights."""
    runtime.configure(runtime.choose_threads("auto"), seed=0)
    import keras

    from weights.assign import assign_arrays

    if name in RESNETS:
        model = _resnet(RESNETS[name], arrays)
    elif (builder := MODELS[name or "alexnet"]) is None:
        from ttrnn.models.alexnet import build_alexnet

        model = build_alexnet()
    else:
        function, arguments = builder
        model = getattr(keras.applications, function)(weights=None, **arguments)
    assign_arrays(model, arrays)
    return model


def _resnet(depth: int, arrays: dict[str, np.ndarray]) -> Any:
    """A ResNet of as many classes as the arrays have."""
    from ttrnn.models.resnet import build_resnet

    head = arrays.get("fc/bias")
    return build_resnet(depth, None if head is None else len(head))


def _save_keras_weights(model: Any, out: Path) -> None:
    from weights.files import replacing

    with replacing(out) as temporary:
        model.save_weights(temporary, overwrite=True)


def _save_safetensors(name: str | None, arrays: dict[str, np.ndarray], out: Path) -> None:
    """Write the arrays; through a model, if one is named, so that names and shapes are its own."""
    from weights.arrays import write_safetensors
    from weights.assign import model_arrays

    if name not in (None, "alexnet"):
        arrays = model_arrays(_filled_model(name, arrays))
    write_safetensors(out, arrays)
